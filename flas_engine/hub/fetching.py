"""Download a base model or a flow checkpoint whole: decide which of a repository's files belong to it, bring them.

Runs in a thread that may be walked away from, and explains what the Hub answers. Knows nothing of the catalog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import constants

from flas_engine.concept_library import LIBRARY_FILE
from flas_engine.errors import DownloadError, ModelError
from flas_engine.hub.failures import explained, offline_message
from flas_engine.hub.snapshot import (
    CONFIG,
    INDEX,
    SMALL_FILES,
    check_weights,
    choose_flow_file,
    find_base,
    find_flow,
    missing_files,
    read_index,
    weight_files,
)
from flas_engine.hub.transfer import Transfer, list_files
from flas_engine.hub.watched import run_watched
from flas_engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flas_engine.hub.snapshot import Repository
    from flas_engine.hub.watched import Watch
    from flas_engine.progress import ReportProgress


def fetch_base(repository: Repository, name: str, progress: ReportProgress, *, force: bool = False) -> Path:
    """Bring what is still missing of a base model and return its folder in Hugging Face's cache.

    `name` is what the user calls it. Raises `DownloadError` or `ModelError` saying what went wrong, and `Cancelled`.
    """
    if constants.HF_HUB_OFFLINE and not force and (folder := find_base(repository)):
        return folder
    return _watched(repository, name, progress, lambda watch: _bring_base(repository, name, watch, force=force))


def fetch_flow(
    repository: Repository, file: str | None, name: str, progress: ReportProgress, *, force: bool = False
) -> Path:
    """Bring what is still missing of a flow checkpoint (the only one, or `file`); returns the file's path.

    Its library of concepts comes along where it has one.
    """
    if constants.HF_HUB_OFFLINE and not force and (found := find_flow(repository, file)):
        return found
    return _watched(repository, name, progress, lambda watch: _bring_flow(repository, file, name, watch, force=force))


def fetch_config(repository: Repository, name: str, progress: ReportProgress) -> Path:
    """Bring the `config.json` of a repository and nothing else."""

    def bring(watch: Watch) -> Path:
        listing = list_files(repository)
        if CONFIG not in listing.files:
            raise ModelError(f"{repository} has no {CONFIG}: neither a transformers model nor a flow checkpoint")
        transfer = Transfer(repository, listing, watch, force=False)
        transfer.fetch([CONFIG])
        return transfer.folder / CONFIG

    return _watched(repository, name, progress, bring)


def _watched(repository: Repository, name: str, progress: ReportProgress, bring: Callable[[Watch], Path]) -> Path:
    if constants.HF_HUB_OFFLINE:
        raise DownloadError(offline_message(repository, name))

    def work(watch: Watch) -> Path:
        with explained(repository, name):
            return bring(watch)

    return run_watched(work, progress, Progress(activity=f"asking the Hub for {repository}"))


def _bring_base(repository: Repository, name: str, watch: Watch, *, force: bool) -> Path:
    listing = list_files(repository)
    if CONFIG not in listing.files:
        raise ModelError(f"{repository} has no {CONFIG}, so it is no transformers model; choose another base")
    transfer = Transfer(repository, listing, watch, force=force)
    small = sorted(SMALL_FILES & listing.files.keys())
    transfer.require_room(small)
    transfer.fetch(small)
    if INDEX in listing.files:
        weights = read_index(transfer.folder / INDEX)
    else:
        weights = sorted(file for file in listing.files if file.endswith(".safetensors") and "/" not in file)
    absent = [file for file in weights if file not in listing.files]
    if absent or not weights:
        raise ModelError(
            f"{repository} has no {absent[0] if absent else '*.safetensors weights'}; choose another copy with --base"
        )
    transfer.require_room(weights)
    transfer.fetch(weights)
    for path in weight_files(transfer.folder):
        check_weights(path, f"run: flas-tui download {name} --force")
    if missing := missing_files(transfer.folder):
        raise ModelError(f"{repository} has no {missing[0]}; choose another copy with --base")
    transfer.point_revision()
    return transfer.folder


def _bring_flow(repository: Repository, file: str | None, name: str, watch: Watch, *, force: bool) -> Path:
    listing = list_files(repository)
    chosen = choose_flow_file(listing.files, file, str(repository))
    if CONFIG not in listing.files:
        raise ModelError(f"{repository} has no {CONFIG}, so it is no flow checkpoint; choose another with --flow")
    transfer = Transfer(repository, listing, watch, force=force)
    files = [CONFIG, chosen, *({LIBRARY_FILE} & listing.files.keys())]
    transfer.require_room(files)
    transfer.fetch(files)
    if chosen.endswith(".safetensors"):
        check_weights(transfer.folder / chosen, f"run: flas-tui download {name} --force")
    transfer.point_revision()
    return transfer.folder / chosen
