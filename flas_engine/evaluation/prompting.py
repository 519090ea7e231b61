"""Plain prompting, the method that steering is measured against: the concept is asked for in words.

The template is named in every plan; change its number with its words. Knows nothing of how texts are written.
"""

from __future__ import annotations

PROMPTING_TEMPLATE = "flas-prompting-1"


def ask_for(concept: str, prompt: str) -> str:
    """Return the prompt that asks for `concept` in the answer to `prompt`."""
    return (
        "Answer the request below. All through your answer, and in your own words, clearly follow this concept: "
        f"{concept}\n\nRequest: {prompt}"
    )
