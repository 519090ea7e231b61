"""transformers' tokenizer around a vocabulary that is in memory already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer


class LibraryTokenizer(PreTrainedTokenizerFast):
    """Takes vocabulary, rules and added tokens as they are; else they would be read once more, or copied."""

    def __init__(self, *, ready: Tokenizer, **settings: Any) -> None:
        self._tokenizer = ready
        super().__init__(**settings | {"tokenizer_file": None})  # type: ignore[no-untyped-call]

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **settings: Any) -> dict[str, Any]:
        """Leave the settings as they are: there is nothing to convert."""
        del trust_remote_code
        return settings


def make_tokenizer(folder: Path, ready: Tokenizer, missing: dict[str, Any]) -> LibraryTokenizer:
    """Give `ready` the special tokens and chat templates of the other files in `folder`, and settings they lack."""
    tokenizer: LibraryTokenizer = LibraryTokenizer.from_pretrained(folder, ready=ready, **missing)
    return tokenizer
