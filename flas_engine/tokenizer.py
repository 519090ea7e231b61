"""The tokenizer of a model folder from its `tokenizer.json`, read once.

transformers reads that file up to three times, twice of them in Python (three seconds for Gemma's), and takes half a
second to be imported. It is asked where more than the file is to be known: for a chat template, or an odd folder.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from tokenizers import AddedToken, Tokenizer

from flas_engine.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

_END_OF_TEXT = "<|endoftext|>"
CLASS_DEFAULTS: dict[str, dict[str, str]] = {
    "TokenizersBackend": {},
    "PreTrainedTokenizer": {},
    "GemmaTokenizer": {
        **{f"{name}_token": f"<{name}>" for name in ("unk", "bos", "eos", "pad", "mask")},
        "padding_side": "left",
    },
    "Qwen2Tokenizer": {f"{name}_token": _END_OF_TEXT for name in ("unk", "eos", "pad")},
}
"""Settings by tokenizer class of transformers, of the classes that else come to what the file says."""
_OLD_LISTS = ("special_tokens_map.json", "added_tokens.json")
"""Where models saved long ago list added tokens that `tokenizer.json` may lack."""
_TEMPLATES = ("chat_template.jinja", "additional_chat_templates")
_MORE_TOKENS = ("extra_special_tokens", "additional_special_tokens")
"""Settings that may name special tokens beside those with a name of their own."""


def read_tokenizer(folder: Path) -> FileTokenizer | None:
    """Read the tokenizer of a model folder, without transformers; None where only that knows which one it is.

    Raises `ModelError` when `tokenizer.json` is damaged.
    """
    settings = _read_settings(folder / "tokenizer_config.json")
    defaults = CLASS_DEFAULTS.get(str(settings.get("tokenizer_class")).removesuffix("Fast"))
    file = folder / "tokenizer.json"
    if defaults is None or not file.is_file():
        return None
    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as error:  # the library has no class of its own for what is wrong with a file
        raise ModelError(f"{folder} has no readable tokenizer ({error}); download the model again") from None
    tokenizer = FileTokenizer(folder, backend, settings, defaults)
    return tokenizer if tokenizer.is_complete else None


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder or GGUF file; raises `ModelError` when it cannot be read."""
    try:
        read = read_tokenizer(path)
        # A `FileTokenizer` has all of a transformers tokenizer, by way of `library`.
        return _ask_library(path) if read is None else cast("PreTrainedTokenizerBase", read)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise ModelError(f"{path} has no readable tokenizer ({reason}); download the model again") from None


def _ask_library(path: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    if path.suffix == ".gguf":
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    else:
        tokenizer = AutoTokenizer.from_pretrained(path)
    return tokenizer


def _read_settings(path: Path) -> dict[str, Any]:
    """Read `tokenizer_config.json`; empty when it is damaged, or names code of its own."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_usual = isinstance(settings, dict) and not settings.keys() & {"auto_map", "fast_tokenizer_files"}
    return settings if is_usual else {}


def _is_same(token: AddedToken | None, settings: dict[str, Any]) -> bool:
    """Whether an added token is what the settings list; what they leave out is as by AddedToken's own defaults."""
    is_special = settings.get("special", False)
    described = AddedToken(**{"normalized": not is_special, **settings})
    return token is not None and token.__getstate__() == described.__getstate__()


class FileTokenizer:
    """Does what takes no more than the file, and is transformers' tokenizer in everything else."""

    def __init__(self, folder: Path, backend: Tokenizer, settings: dict[str, Any], defaults: dict[str, str]) -> None:
        self.backend_tokenizer = backend
        self._folder = folder
        self._settings = settings
        self._missing = {name: value for name, value in defaults.items() if name not in settings}
        self._tokens = {name: value for name, value in (settings | self._missing).items() if name.endswith("_token")}
        backend.no_truncation()
        backend.no_padding()

    @property
    def is_complete(self) -> bool:
        """Whether the file has every token that the settings name, just as they name it."""
        known = self.added_tokens_decoder
        special = {token.content for token in known.values() if token.special}
        named = [token for token in self._tokens.values() if token is not None]
        for name in _MORE_TOKENS:
            more = self._settings.get(name) or []
            named += more.values() if isinstance(more, dict) else more
        listed: dict[str, Any] = self._settings.get("added_tokens_decoder") or {}
        return (
            all(isinstance(token, str) and token in special for token in named)
            and all(_is_same(known.get(int(index)), token) for index, token in listed.items())
            and not self._settings.get("split_special_tokens")
            and not self._has_any(_OLD_LISTS)
        )

    @cached_property
    def library(self) -> PreTrainedTokenizerBase:
        """The tokenizer of transformers around the same vocabulary."""
        from flas_engine.library_tokenizer import make_tokenizer

        missing = {**self._missing, "added_tokens_decoder": {}}  # else it looks for them in `tokenizer.json`
        return make_tokenizer(self._folder, self.backend_tokenizer, missing)

    @property
    def bos_token(self) -> str | None:
        """What begins a text; None when nothing does."""
        return self._tokens.get("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id of what ends a text; None when nothing does."""
        token = self._tokens.get("eos_token")
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Tokens beside the vocabulary proper, by id."""
        return dict(sorted(self.backend_tokenizer.get_added_tokens_decoder().items()))

    @property
    def chat_template(self) -> Any:
        """The template or templates of a chat; None when there are none."""
        has_any = bool(self._settings.get("chat_template")) or self._has_any(_TEMPLATES)
        return self.library.chat_template if has_any else None

    def __call__(self, text: Any, *more: Any, add_special_tokens: bool = True, **options: Any) -> Any:
        """Return the ids of a text as `{"input_ids": [...]}`."""
        if more or options or not isinstance(text, str):
            return self.library(text, *more, add_special_tokens=add_special_tokens, **options)
        return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **options: Any) -> Any:
        """Return the text of a list of ids."""
        if any(options.values()) or not isinstance(token_ids, list):
            return self.library.decode(token_ids, skip_special_tokens, **options)
        return self.backend_tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Return the tokens of a list of ids as the vocabulary writes them."""
        if skip_special_tokens or not isinstance(ids, list):
            return self.library.convert_ids_to_tokens(ids, skip_special_tokens)
        return [self.backend_tokenizer.id_to_token(index) for index in ids]

    def _has_any(self, names: tuple[str, ...]) -> bool:
        return any((self._folder / name).exists() for name in names)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.library, name)
