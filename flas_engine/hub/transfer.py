"""Bring files of a Hub repository into Hugging Face's cache, so that a killed or called-off download goes on.

huggingface_hub lays the cache out, talks to the Hub and brings the small files; but it throws away what it has of a
large one when it is interrupted. So large files come through here: into the blob's `.incomplete` file, from where it
ends, checked against the Hub's sha256, and only then given their name. Knows nothing of models.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, tqdm

from flas_engine.errors import DownloadError
from flas_engine.hub.capacity import require_disk
from flas_engine.hub.failures import HTTP_ERROR
from flas_engine.hub.partial_file import PartialFile
from flas_engine.hub.snapshot import storage_dir
from flas_engine.hub.watched import locked
from flas_engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from huggingface_hub.hf_api import RepoSibling

    from flas_engine.hub.snapshot import Repository
    from flas_engine.hub.watched import Watch

NUM_RETRIES = 5
"""How often a broken connection is taken up again without a byte having come."""
RETRY_SECONDS = 1.0
_PARTIAL_CONTENT = 206
_SERVER_ERROR = 500
"""This status and those above: it is the Hub that has a bad moment."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a repository as the Hub lists it."""

    name: str
    num_bytes: int
    sha256: str | None
    """Of files kept in large file storage, as weights are; None of the others."""


@dataclass(frozen=True, kw_only=True)
class RemoteListing:
    """The files of a repository at one commit."""

    commit: str
    files: dict[str, RemoteFile]


def list_files(repository: Repository) -> RemoteListing:
    """Ask the Hub for the files of `repository`."""
    info = HfApi().model_info(
        repository.id, revision=repository.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
    )
    files = [
        RemoteFile(name=file.rfilename, num_bytes=file.size or 0, sha256=_sha256_of(file))
        for file in info.siblings or ()
    ]
    if info.sha is None:
        raise DownloadError(f"the Hub names no commit for {repository}; check HF_ENDPOINT")
    return RemoteListing(commit=info.sha, files={file.name: file for file in files})


class Transfer:
    """Fetches files of one repository at one commit, and keeps count of their bytes over all of them."""

    def __init__(self, repository: Repository, listing: RemoteListing, watch: Watch, *, force: bool) -> None:
        self._repository = repository
        self._listing = listing
        self._watch = watch
        self._force = force
        self._storage = storage_dir(repository)
        self._total = 0
        self._done = 0

    def require_room(self, names: Sequence[str]) -> None:
        """Raise `DownloadError` with the numbers unless what is still to come of `names` fits on the disk."""
        needed = sum(self._missing_bytes(self._listing.files[name]) for name in names)
        if needed:
            require_disk(self._storage, needed, f"downloading {self._repository}")

    def fetch(self, names: Sequence[str]) -> None:
        """Bring the files `names`, those that are whole already excepted."""
        files = [self._listing.files[name] for name in names]
        self._total += sum(file.num_bytes for file in files)
        for file in files:
            start = self._done
            if self._force or not self._is_whole(file):
                self._bring(file)
            self._done = start + file.num_bytes
            self._report(file)

    def point_revision(self) -> None:
        """Let the revision's name mean this commit from now on, everything of it being here."""
        if self._repository.revision != self._listing.commit:
            reference = self._storage / "refs" / self._repository.revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            partial = reference.with_name(f"{reference.name}.{threading.get_ident()}.tmp")
            with self._watch.still_wanted():
                partial.write_text(self._listing.commit, encoding="utf-8")
                partial.replace(reference)

    @property
    def folder(self) -> Path:
        """The snapshot's folder in the cache."""
        return self._storage / "snapshots" / self._listing.commit

    def _bring(self, file: RemoteFile) -> None:
        self._report(file)
        pointer = self.folder / file.name
        if file.sha256 is not None:
            self._bring_blob(file, file.sha256)
        elif pointer.exists() and not self._is_whole(file):
            pointer.resolve().unlink(missing_ok=True)  # a damaged small file: the library would take it as it is
            pointer.unlink(missing_ok=True)
        self._watch.check()
        hf_hub_download(  # a small file comes now; a large one is only given its name in the snapshot
            self._repository.id,
            file.name,
            revision=self._listing.commit,
            force_download=self._force and file.sha256 is None,
            tqdm_class=_SilentBar,
        )

    def _bring_blob(self, file: RemoteFile, sha256: str) -> None:
        blob = self._storage / "blobs" / sha256
        blob.parent.mkdir(parents=True, exist_ok=True)
        # The lock that huggingface_hub takes for the same file, so that two programs do not both bring it.
        lock = self._storage.parent / ".locks" / self._storage.name / f"{sha256}.lock"
        with locked(lock, self._watch, f"waiting: another process downloads {file.name}"):
            if blob.exists() and blob.stat().st_size == file.num_bytes and not self._force:
                return
            partial_path = blob.with_name(f"{sha256}.incomplete")
            if self._force:
                partial_path.unlink(missing_ok=True)
            with PartialFile(partial_path, file.num_bytes) as partial:
                self._fill(file, partial)
            if partial.sha256 != sha256:
                partial_path.unlink(missing_ok=True)
                raise DownloadError(
                    f"{file.name} of {self._repository} arrived damaged (its sha256 is not the Hub's) and was removed; "
                    "run the download again"
                )
            with self._watch.still_wanted():
                partial_path.replace(blob)

    def _fill(self, file: RemoteFile, partial: PartialFile) -> None:
        """Stream until the file is whole, over as many connections as that takes."""
        start, retries = self._done, NUM_RETRIES
        while partial.num_bytes < file.num_bytes:
            before = partial.num_bytes
            failure: Exception = DownloadError(
                f"{file.name} of {self._repository} ends too early on the Hub; try again later"
            )
            try:
                self._stream(file, partial, start)
            except HTTP_ERROR as error:
                if isinstance(error, HfHubHTTPError) and error.response.status_code < _SERVER_ERROR:
                    raise  # an answer that another try will not change
                failure = error
            if partial.num_bytes > before:
                retries = NUM_RETRIES
            elif retries == 0:
                raise failure
            else:
                retries -= 1
                self._watch.wait(RETRY_SECONDS)

    def _stream(self, file: RemoteFile, partial: PartialFile, start: int) -> None:
        url = hf_hub_url(self._repository.id, file.name, revision=self._listing.commit)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if partial.num_bytes:
            headers["Range"] = f"bytes={partial.num_bytes}-"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        # The session drops the token by itself when the Hub sends us on to another host.
        with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
            hf_raise_for_status(response)
            if response.status_code != _PARTIAL_CONTENT:
                partial.restart()
            for block in response.iter_raw():
                with self._watch.still_wanted():
                    partial.append(block)
                self._done = start + partial.num_bytes
                self._report(file)

    def _is_whole(self, file: RemoteFile) -> bool:
        pointer = self.folder / file.name
        return pointer.exists() and pointer.stat().st_size == file.num_bytes

    def _missing_bytes(self, file: RemoteFile) -> int:
        if self._force:
            return file.num_bytes
        if self._is_whole(file):
            return 0
        partial = self._storage / "blobs" / f"{file.sha256}.incomplete"
        return file.num_bytes - (partial.stat().st_size if partial.exists() else 0)

    def _report(self, file: RemoteFile) -> None:
        activity = f"downloading {self._repository.id}: {file.name}"
        self._watch.report(Progress(activity=activity, done=self._done, total=self._total, unit="bytes"))


class _SilentBar(tqdm):
    """A bar that is never drawn: progress is told through `Watch`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]


def _sha256_of(file: RepoSibling) -> str | None:
    return file.lfs.sha256 if file.lfs is not None else None
