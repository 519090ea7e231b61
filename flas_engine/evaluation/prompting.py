"""Plain prompting, the method that steering is measured against: the concept is asked for in words.

The template is named in every plan; change its number with its words. Knows nothing of how texts are written.
"""

from __future__ import annotations

PROMPTING_TEMPLATE = "flas-prompting-1"


def ask_for(concept: str, prompt: str) -> str:
    """Return the prompt that asks for `concept` in the answer to `prompt`.

    The wish comes last and is short: small models heed that best, and steering is not to look good beside a weak one.
    """
    return f"{prompt}\n\nIn your answer, follow this concept: {concept}"
