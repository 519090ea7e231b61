"""From what names a base model or a flow (a folder, a file, a Hub repository) to the files themselves.

What is on the disk is taken as it lies, Hugging Face's cache included; the network is asked last, and imported only
then. Knows nothing of default choices and of what is done with the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.errors import CheckpointError, ModelError
from flas_engine.hub.catalog import ASSETS_PREFIX, BUILT_IN
from flas_engine.hub.embedded import ensure_embedded, is_converted, is_package_installed
from flas_engine.hub.snapshot import (
    CONFIG,
    check_weights,
    choose_flow_file,
    find_base,
    find_flow,
    find_snapshot,
    missing_files,
    parse_repository,
    tensor_names,
    weight_files,
)
from flas_engine.paths import assets_dir, user_path

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.hub.catalog import CatalogEntry
    from flas_engine.progress import ReportProgress

GGUF_MAGIC = b"GGUF"
_FLOW_SUFFIXES = (".safetensors", ".pt")


@dataclass(frozen=True, kw_only=True)
class Files:
    """A base or a flow on this disk."""

    path: Path
    id: str
    """Hub repository, or the path in full."""


def open_base(source: str, name: str, progress: ReportProgress) -> Files:
    """Return the base model `source`, downloaded or converted first if need be; raises `FlasError`."""
    path = user_path(source)
    if path.exists():
        return Files(path=_check_base(path.resolve()), id=str(path.resolve()))
    repository = parse_repository(source)
    if repository is None:
        raise ModelError(f"the base {source!r} is no file or folder here and no Hub repository (owner/name)")
    again = f"run: flas-tui download {name} --force"
    embedded = _embedded_copy(source)
    if embedded is not None and (is_package_installed(embedded) or is_converted(embedded)):
        return Files(path=ensure_embedded(embedded, progress), id=embedded.base)
    folder = find_base(repository)
    if folder is None and embedded is not None and embedded.embedded is not None:
        raise ModelError(
            f"{embedded.name} needs {embedded.embedded.distribution}, which is not installed; run: "
            f"{embedded.embedded.install}\n"
            f"or take the full-precision model from the Hub: flas-tui download {embedded.name}"
        )
    if folder is None:
        from flas_engine.hub.fetching import fetch_base

        folder = fetch_base(repository, name, progress)
    for weights in weight_files(folder):
        check_weights(weights, again)
    return Files(path=folder, id=source)


def open_flow(source: str, file: str | None, name: str, progress: ReportProgress) -> Files:
    """Return the flow checkpoint `source`, downloaded first if need be; raises `FlasError`."""
    path = local_flow(source)
    if path.exists():
        return Files(path=_check_flow(path.resolve(), file), id=source if is_asset(source) else str(path.resolve()))
    repository = parse_repository(source)
    if repository is None:
        raise CheckpointError(f"the flow {source!r} is no file or folder here and no Hub repository (owner/name)")
    found = find_flow(repository, file)
    if found is None:
        from flas_engine.hub.fetching import fetch_flow

        found = fetch_flow(repository, file, name, progress)
    if found.suffix == ".safetensors":
        check_weights(found, f"run: flas-tui download {name} --force")
    return Files(path=found, id=source)


def is_asset(source: str) -> bool:
    """Whether `source` is shipped with the program."""
    return source.startswith(ASSETS_PREFIX)


def local_flow(source: str) -> Path:
    """Return the path that `source` means if it is none of the Hub's."""
    return assets_dir() / source.removeprefix(ASSETS_PREFIX) if is_asset(source) else user_path(source)


def find_local_flow(source: str, file: str | None = None) -> Path | None:
    """Return where the flow `source` lies on this disk, Hugging Face's cache included; None when it is not here."""
    if (path := local_flow(source)).exists():
        return path
    repository = None if is_asset(source) else parse_repository(source)
    return find_flow(repository, file) if repository else None


def flow_base(source: str, name: str, progress: ReportProgress) -> str | None:
    """Return the base model that the flow `source` was trained for; None when `source` is no flow but a base."""
    path = user_path(source)
    if path.is_file() and path.suffix not in _FLOW_SUFFIXES:
        return None
    if path.exists():
        return _read_model_id(path if path.is_dir() else path.parent)
    repository = parse_repository(source)
    if repository is None:
        return None
    snapshot = find_snapshot(repository)
    if snapshot is None or not (snapshot / CONFIG).exists():
        from flas_engine.hub.fetching import fetch_config

        snapshot = fetch_config(repository, name, progress).parent
    return _read_model_id(snapshot, has_tensors=False)


def _read_model_id(folder: Path, *, has_tensors: bool = True) -> str | None:
    """Read a flow config's `model_id`; with tensors at hand they must be a flow's too."""
    try:
        model_id = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_id")
    except (OSError, ValueError, AttributeError):
        return None
    if not isinstance(model_id, str):
        return None
    tensors = [file for file in folder.glob("*.safetensors") if has_tensors]
    is_flow = not tensors or any(name.startswith("time_embed.") for file in tensors for name in tensor_names(file))
    return model_id if is_flow else None


def _embedded_copy(source: str) -> CatalogEntry | None:
    """Return the embedded model that is a copy of the Hub repository `source`."""
    return next((entry for entry in BUILT_IN if entry.embedded and entry.base.lower() == source.lower()), None)


def _check_base(path: Path) -> Path:
    again = "copy or download it again"
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
                raise ModelError(f"{path} is no GGUF file; a base is a folder of safetensors or a GGUF file")
        return path
    if missing := missing_files(path):
        raise ModelError(f"{path} is no complete model: it has no {', '.join(missing[:3])}; {again}")
    for weights in weight_files(path):
        check_weights(weights, again)
    return path


def _check_flow(path: Path, file: str | None) -> Path:
    found = path
    if path.is_dir():
        found = path / choose_flow_file([entry.name for entry in path.iterdir()], file, str(path))
    if found.suffix not in _FLOW_SUFFIXES:
        raise CheckpointError(
            f"{found} is no flow checkpoint; that is a .safetensors or .pt file, or a folder with one"
        )
    if not (found.parent / CONFIG).exists():
        raise CheckpointError(f"{found} has no {CONFIG} beside it; copy it from where the checkpoint was trained")
    if found.suffix == ".safetensors":
        check_weights(found, "copy or download it again")
    return found
