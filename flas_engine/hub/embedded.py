"""The models that come with Python packages: found, converted once into the user cache, and kept sound.

A package is looked at, never imported. The conversion is written beside its place and moved there whole, under a lock
that a second process waits at; what a killed one left is removed by the next. Knows nothing of the Hub.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flas_engine.errors import DownloadError, ModelError
from flas_engine.hub.capacity import require_disk
from flas_engine.hub.folder_seal import is_sound, seal
from flas_engine.hub.gguf_conversion import convert_apart
from flas_engine.hub.watched import locked, run_watched
from flas_engine.paths import cache_dir, data_dir
from flas_engine.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from flas_engine.hub.catalog import CatalogEntry, EmbeddedData
    from flas_engine.hub.watched import Watch
    from flas_engine.progress import ReportProgress

CONVERSION = 3
"""Raised when the conversion comes to write something else, so that older folders are made again."""
_COPY_BYTES = 1 << 20


def embedded_dir(entry: CatalogEntry) -> Path:
    """Return the folder that holds, or will hold, the converted model."""
    return cache_dir() / "models" / entry.name


def is_package_installed(entry: CatalogEntry) -> bool:
    """Whether the file that `entry` is converted from is there, in all its parts."""
    return entry.embedded is not None and not _missing_parts(entry.embedded)


def is_converted(entry: CatalogEntry) -> bool:
    """Whether a sound conversion of `entry` is in the cache, made from the package as it is now if it is installed."""
    return entry.embedded is not None and is_sound(embedded_dir(entry), _expected_origin(entry))


def ensure_embedded(entry: CatalogEntry, progress: ReportProgress = ignore_progress) -> Path:
    """Return the folder of the converted model, which is made first where it is missing or broken.

    Raises `ModelError` or `DownloadError` saying what is missing, `Cancelled` when `progress` does.
    """
    if is_converted(entry):
        return embedded_dir(entry)
    data = entry.embedded
    if data is None:
        raise ModelError(f"{entry.name} is no embedded model; it is downloaded: flas-tui download {entry.name}")
    if missing := _missing_parts(data):
        raise ModelError(f"{entry.name} needs {missing[0]}, which is not installed; run: {data.install}")
    first = Progress(activity=f"preparing {entry.name}, once")
    return run_watched(lambda watch: _convert_once(entry, data, watch), progress, first)


def terms_notice(entry: CatalogEntry) -> str | None:
    """Return what has to be shown of the terms of an embedded model, once on a machine; None from then on."""
    if entry.embedded is None or not entry.embedded.is_terms_shown or entry.licence is None:
        return None
    marker = data_dir() / "notices" / f"{entry.name}.txt"
    if marker.exists():
        return None
    notice = f"{entry.name} is provided under and subject to the {entry.licence.name}: {entry.licence.url}"
    with contextlib.suppress(OSError):  # where nothing can be kept, the notice is shown each time
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(notice + "\n", encoding="utf-8")
    return notice


def _convert_once(entry: CatalogEntry, data: EmbeddedData, watch: Watch) -> Path:
    target = embedded_dir(entry)
    needed = entry.base_bytes + sum(part.stat().st_size for part in _parts(data))
    require_disk(target, needed, f"converting {entry.name}")
    try:
        lock = target.with_name(f"{target.name}.lock")
        with locked(lock, watch, f"waiting: another process prepares {target.name}"):
            if not is_converted(entry):
                _convert(entry, data, target, watch)
    except OSError as error:
        raise DownloadError(
            f"{target} cannot be written ({error.strerror or error}); "
            "make room or make the folder writable, or set FLAS_CACHE_DIR to another"
        ) from None
    return target


def _convert(entry: CatalogEntry, data: EmbeddedData, target: Path, watch: Watch) -> None:
    prefix = f"{target.name}.partial-"
    for leftover in target.parent.glob(f"{prefix}*"):  # ours alone to remove: we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix, ignore_cleanup_errors=True) as name:
        partial = Path(name) / target.name
        partial.mkdir()
        convert_apart(_whole_file(data, Path(name), watch), partial, watch)
        watch.report(Progress(activity=f"checking {entry.name}"))
        seal(partial, _origin(data))
        with watch.still_wanted():
            if target.exists():
                target.rename(Path(name) / "broken")
            partial.rename(target)


def _whole_file(data: EmbeddedData, folder: Path, watch: Watch) -> Path:
    """Return the GGUF file: where it lies if it is in one piece, else put together in `folder`."""
    parts = _parts(data)
    if len(parts) == 1 and data.sha256 is None:
        return parts[0]
    whole, digest, done = folder / f"{data.distribution}.gguf", hashlib.sha256(), 0
    total = sum(part.stat().st_size for part in parts)
    with whole.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(_COPY_BYTES):
                    watch.report(Progress(activity="putting the parts together", done=done, total=total, unit="bytes"))
                    out.write(block)
                    digest.update(block)
                    done += len(block)
    if data.sha256 not in {None, digest.hexdigest()}:
        raise ModelError(
            f"the parts of {data.distribution} are damaged (sha256 {digest.hexdigest()[:12]}..., "
            f"should be {str(data.sha256)[:12]}...); run: pip install --force-reinstall {data.distribution}"
        )
    return whole


def _parts(data: EmbeddedData) -> list[Path]:
    return [folder / path for package, path in data.parts if (folder := _package_folder(package)) is not None]


def _missing_parts(data: EmbeddedData) -> list[str]:
    """Name the packages that are not there, or not with their file."""
    folders = {package: _package_folder(package) for package, _ in data.parts}
    return [
        package.replace("_", "-")
        for package, path in data.parts
        if (folder := folders[package]) is None or not (folder / path).is_file()
    ]


def _package_folder(package: str) -> Path | None:
    """Find an installed package without running any of its code."""
    importlib.invalidate_caches()  # it may have been installed while we run
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _origin(data: EmbeddedData) -> str:
    try:
        version = metadata.version(data.distribution)
    except metadata.PackageNotFoundError:
        version = "unknown"
    return json.dumps({"conversion": CONVERSION, "package": data.distribution, "version": version})


def _expected_origin(entry: CatalogEntry) -> str | None:
    """Return what a sound conversion was made from; None is anything: the package has gone, the cache is left."""
    data = entry.embedded
    return _origin(data) if data is not None and is_package_installed(entry) else None
