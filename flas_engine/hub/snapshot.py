"""The files of a model on this disk: which ones are needed, where they are cached, whether they are whole.

Never touches the network, and reads no more than a header of a weight file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants

from flas_engine.errors import ModelError
from flas_engine.hub.catalog import HUB_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
SMALL_FILES = frozenset(
    {
        CONFIG,
        INDEX,
        *_TOKENIZERS,
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
    }
)
"""All that is read of a base model beside its weights; a repository has some of them."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
_DTYPE_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2}


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A model repository of the Hub at one revision."""

    id: str
    revision: str = "main"

    def __str__(self) -> str:
        return self.id if self.revision == "main" else f"{self.id}@{self.revision}"


def parse_repository(source: str) -> Repository | None:
    """Read `owner/name` or `owner/name@revision`; None when `source` is neither."""
    match = HUB_SOURCE.fullmatch(source)
    return Repository(id=match["id"], revision=match["revision"] or "main") if match else None


def storage_dir(repository: Repository) -> Path:
    """Return the folder of Hugging Face's cache that keeps `repository`; it may not exist."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.id.replace('/', '--')}"


def find_snapshot(repository: Repository) -> Path | None:
    """Return the cached folder of `repository`, complete or not, or None."""
    storage = storage_dir(repository)
    commit = repository.revision
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (storage / "refs" / commit).read_text(encoding="utf-8").strip()
        except OSError:
            return None
    folder = storage / "snapshots" / commit
    return folder if folder.is_dir() else None


def find_base(repository: Repository) -> Path | None:
    """Return the cached folder of a base model if every file of it is there, else None."""
    folder = find_snapshot(repository)
    return folder if folder is not None and not missing_files(folder) else None


def find_flow(repository: Repository, file: str | None) -> Path | None:
    """Return the cached flow checkpoint if it and its config are there, else None."""
    folder = find_snapshot(repository)
    if folder is None or not (folder / CONFIG).exists():
        return None
    try:
        path = folder / choose_flow_file([path.name for path in folder.iterdir()], file, str(repository))
    except ModelError:
        return None
    return path if path.exists() else None


def missing_files(folder: Path) -> list[str]:
    """Name what a base model's folder lacks; empty when it is complete. Raises `ModelError` on an unreadable index."""
    missing = [] if (folder / CONFIG).exists() else [CONFIG]
    if not any((folder / name).exists() for name in _TOKENIZERS):
        missing.append(_TOKENIZERS[0])
    return missing + [path.name for path in weight_files(folder) if not path.exists()]


def weight_files(folder: Path) -> list[Path]:
    """List the weight files that belong to the model in `folder`, those that are not there included."""
    index = folder / INDEX
    if index.exists():
        return [folder / name for name in read_index(index)]
    found = sorted(folder.glob("*.safetensors"))
    return found if found and not (folder / _SINGLE).exists() else [folder / _SINGLE]


def read_index(path: Path) -> list[str]:
    """List the shards that an index names; raises `ModelError` when it cannot be read."""
    try:
        return sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{path} is damaged; fetch the model again with: flas-tui download NAME --force") from None


def choose_flow_file(names: Iterable[str], wanted: str | None, source: str) -> str:
    """Return the flow's file among `names`: the wanted one, else the only *.safetensors, else the only *.pt."""
    listed = list(names)
    if wanted is not None:
        if wanted in listed:
            return wanted
        raise ModelError(f"{source} has no file {wanted}; it has {_some(listed)}")
    for suffix in (".safetensors", ".pt"):
        found = [name for name in listed if name.endswith(suffix)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ModelError(f"{source} has several {suffix} files ({_some(found)}); name one of them with --flow")
    raise ModelError(f"{source} has no flow checkpoint (*.safetensors or *.pt); it has {_some(listed)}")


def check_weights(path: Path, again: str) -> int:
    """Return the number of parameters in a safetensors file; `ModelError` when it is cut off or garbled.

    `again` is what the user can do about it. Reads the header only: its tensors end where the file must.
    """
    header_bytes, tensors = _read_header(path, again)
    try:
        ranges = [(*entry["data_offsets"], _DTYPE_BYTES.get(entry["dtype"], 1)) for entry in tensors.values()]
        expected = header_bytes + max((end for _, end, _ in ranges), default=0)
        num_parameters: int = sum((end - begin) // num_bytes for begin, end, num_bytes in ranges)
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{path} is damaged: its safetensors header makes no sense; {again}") from None
    size = path.stat().st_size
    if size != expected:
        raise ModelError(f"{path} is damaged: {size} bytes where its header says {expected}; {again}")
    return num_parameters


def tensor_names(path: Path) -> list[str]:
    """List the tensors of a safetensors file; raises `ModelError` when its header cannot be read."""
    return list(_read_header(path, "choose another file")[1])


def _read_header(path: Path, again: str) -> tuple[int, dict[str, Any]]:
    """Return where a safetensors file's data begins, and what its header says of each tensor."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= _MAX_HEADER_BYTES else None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); {again}") from None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise ModelError(f"{path} is damaged: it does not begin with a safetensors header; {again}")
    header.pop("__metadata__", None)
    return 8 + length, header


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:5]) or "no files"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
