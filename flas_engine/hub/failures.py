"""Say what went wrong with the Hub in one or two lines: what, why, and what to do next.

Messages are written here from scratch: the libraries' own carry addresses and headers that may hold a token.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from flas_engine.errors import DownloadError, FlasError
from flas_engine.hub.snapshot import storage_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.hub.snapshot import Repository

# huggingface_hub speaks through httpx in version 1 and httpx2 in version 2; this is that one's root of all errors.
HTTP_ERROR: type[Exception] = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def explained(repository: Repository, name: str) -> Iterator[None]:
    """Turn whatever the Hub, the network or the disk does inside into a `DownloadError`.

    `name` is what the user calls the model, for the commands in the messages.
    """
    try:
        yield
    except FlasError:
        raise
    except LocalEntryNotFoundError as error:  # hides the cause that matters
        raise DownloadError(_explain(error.__cause__ or error, repository, name)) from None
    except (OSError, HTTP_ERROR, FileMetadataError, EntryNotFoundError, ValueError) as error:
        raise DownloadError(_explain(error, repository, name)) from None


def offline_message(repository: Repository, name: str) -> str:
    """Say that a repository is not here and may not be fetched."""
    return (
        f"{repository} is not on this machine, or not all of it, and HF_HUB_OFFLINE forbids the network; "
        f"unset it and run: flas-tui download {name}"
    )


def _explain(error: BaseException, repository: Repository, name: str) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return offline_message(repository, name)
    if isinstance(error, HfHubHTTPError):
        return _explain_answer(error, repository, name)
    if isinstance(error, FileMetadataError):
        return f"{constants.ENDPOINT} does not answer like a Hub; check HF_ENDPOINT, the proxy and the firewall"
    if isinstance(error, HTTP_ERROR):
        return (
            f"no connection to {constants.ENDPOINT} ({type(error).__name__}) for {repository}; check the network, then "
            f"run: flas-tui download {name} (it goes on where it stopped)"
        )
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return (
            f"the disk is full: {storage_dir(repository)} cannot take more; make room or set HF_HOME to another disk, "
            f"then run: flas-tui download {name} (it goes on where it stopped)"
        )
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return (
            f"the Hugging Face cache {constants.HF_HUB_CACHE} cannot be written ({os.strerror(error.errno)}); "
            "make it writable, or set HF_HOME to a folder that is"
        )
    return f"{repository} could not be fetched ({type(error).__name__}); run again: flas-tui download {name}"


def _explain_answer(error: HfHubHTTPError, repository: Repository, name: str) -> str:
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return _explain_gate(repository)
    if isinstance(error, RevisionNotFoundError):
        return f"{repository.id} has no revision {repository.revision!r}; look at {_page(repository)}/commits"
    if isinstance(error, EntryNotFoundError):
        return f"a file of {repository} is missing on the Hub; look at {_page(repository)}/tree/{repository.revision}"
    if status == 401 and get_token() is not None and not _is_repository_hidden(error):
        return (
            "the Hub refuses your token (401): it is mistyped, expired or revoked; "
            "log in again with: hf auth login (or unset HF_TOKEN)"
        )
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        login = "" if get_token() else "; if it is private, log in first: hf auth login"
        return f"the Hub has no repository {repository.id!r}, or it is not open to you; check the name{login}"
    if status == 403:
        return (
            f"your token may not read {repository.id} (403); give it read access to gated repositories at "
            "https://huggingface.co/settings/tokens, or log in with another: hf auth login"
        )
    if status == 429:
        return f"the Hub asks for a pause (429); wait some minutes, then run again: flas-tui download {name}"
    return f"the Hub answers {status} for {repository}; try again later: flas-tui download {name}"


def _is_repository_hidden(error: HfHubHTTPError) -> bool:
    """With a good token the Hub names the repository as the reason, with a bad one nothing or the token."""
    return error.response.headers.get("X-Error-Code") == "RepoNotFound"


def _explain_gate(repository: Repository) -> str:
    page = f"https://huggingface.co/{repository.id}"
    if get_token() is None:
        return f"{repository.id} is gated: accept its licence at {page} with your account, then run: hf auth login"
    return (
        f"{repository.id} is gated and your account has no access: accept its licence at {page}; "
        "if you have, log in with that account: hf auth login"
    )


def _page(repository: Repository) -> str:
    return f"{constants.ENDPOINT}/{repository.id}"
