"""Turn a growing list of token ids into text, piece by piece, exactly and without half characters.

The pieces of an answer join to the decoding of all its ids. Text is held back while it may still change: an unfinished
UTF-8 sequence, a run of byte tokens (which decodes as one), or what may be the beginning of a stop string.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from flas_engine.tokenizer import FileTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Detokenizer:
    """Decodes one answer as its ids arrive; special tokens are left out."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._decode = _decoder(tokenizer)
        self._ids: list[int] = []
        self._start = 0  # ids before this one are no longer needed to decode what follows
        self._read = 0  # ids before this one have been given out as text
        self._is_in_byte_run = False

    def push(self, token_id: int) -> str:
        """Take one more id and return the text that became certain with it, possibly none."""
        self._ids.append(token_id)
        token: str | None = self._tokenizer.convert_ids_to_tokens([token_id])[0]
        is_byte = token is not None and _BYTE_TOKEN.fullmatch(token) is not None
        # A special token leaves no trace in the text, so that a byte run goes on behind it.
        self._is_in_byte_run = is_byte or (self._is_in_byte_run and not self._decode([token_id]))
        if self._is_in_byte_run:
            return ""
        pending = self._pending()
        if not pending or pending.endswith(REPLACEMENT):  # without text there is nothing that later ids could join
            return ""
        self._start, self._read = self._read, len(self._ids)
        return pending

    def flush(self) -> str:
        """Return what is still held back, certain or not; the answer is over."""
        pending = self._pending()
        self._start = self._read = len(self._ids)
        return pending

    def _pending(self) -> str:
        # Decoded together with the piece before, so that joining rules (spaces, byte runs) apply as in the whole.
        given = self._decode(self._ids[self._start : self._read])
        return self._decode(self._ids[self._start :])[len(given) :]


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], str]:
    """Return what turns ids into text without special tokens, past transformers' wrapping where it is only that."""
    if isinstance(tokenizer, FileTokenizer):
        return partial(tokenizer.backend_tokenizer.decode, skip_special_tokens=True)
    from transformers import PreTrainedTokenizerFast as Fast

    kind = type(tokenizer)
    if isinstance(tokenizer, Fast) and (kind.decode, kind._decode) == (Fast.decode, Fast._decode):
        decode: Callable[..., Any] = tokenizer.backend_tokenizer.decode
    else:
        decode = partial(tokenizer.decode, clean_up_tokenization_spaces=False)
    return partial(decode, skip_special_tokens=True)


class StopStrings:
    """Lets text through up to the first stop string, holding back what may be the beginning of one."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Return the text that is certain to be kept, and whether a stop string was met."""
        if not self._stop:
            return text, False
        self._held += text
        places = [(place + len(stop), place) for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if places:
            _, first = min(places)  # the one that is complete first, so that it does not matter how the text came
            kept, self._held = self._held[:first], ""
            return kept, True
        hold = max(_overlap(self._held, stop) for stop in self._stop)
        kept, self._held = self._held[: len(self._held) - hold], self._held[len(self._held) - hold :]
        return kept, False

    def flush(self) -> str:
        """Return what is still held back: no stop string came of it."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a proper beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
