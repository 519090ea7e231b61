"""Reads the rating out of a judge's answer: strict about its value, not about how it is dressed.

Knows nothing of rubrics and servers.
"""

from __future__ import annotations

import re

RATINGS = {"0": 0.0, "1": 1.0, "2": 2.0}
_MARKS = r"[\s*_`\"']*"
"""What Markdown puts around words."""
_BRACKETED = re.compile(rf"\brating{_MARKS}[:=]?{_MARKS}\[{{1,2}}{_MARKS}([^\[\]]*?){_MARKS}\]", re.IGNORECASE)
_BARE = re.compile(
    rf"^\W*(?:final\s+)?rating{_MARKS}[:=]{_MARKS}([^\s*_`\"'.]+)[*_`\"'.]*\s*$", re.IGNORECASE | re.MULTILINE
)
_THOUGHTS_END, _THOUGHTS_BEGIN = "</think>", "<think>"


def parse_rating(answer: str) -> float | None:
    """Return 0, 1 or 2 from the last `Rating: [[n]]` of `answer`; None when that is anything else or missing.

    Text may follow it. Where nothing is in brackets a line `Rating: n` counts, unless others say something else: models
    that recite the grades write such lines. What a reasoning model thinks aloud before its answer does not count.
    """
    _, _, spoken = answer.rpartition(_THOUGHTS_END)
    if _THOUGHTS_BEGIN in spoken:  # the limit of tokens ended it in the middle of thinking
        return None
    if bracketed := _BRACKETED.findall(spoken):
        return RATINGS.get(bracketed[-1])
    bare = set(_BARE.findall(spoken))
    return RATINGS.get(bare.pop()) if len(bare) == 1 else None
