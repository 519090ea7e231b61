"""Pushes the result of a training run to the Hub: a repository of its own, with its model card.

Messages are written here from scratch: the library's own carry addresses and headers that may hold a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from flas_engine.checkpoint import find_flow_file
from flas_engine.concept_library import LIBRARY_FILE
from flas_engine.config import read_flow_config
from flas_engine.errors import TrainingError
from flas_engine.hub.catalog import HUB_SOURCE
from flas_engine.hub.failures import HTTP_ERROR
from flas_engine.hub.snapshot import parse_repository
from flas_engine.training.card import CARD_FILE, FIGURE_FILE, write_card
from flas_engine.training.evaluation_file import EVALUATION_FILE
from flas_engine.training.folder import RunFolder
from flas_engine.training.held_out import find_flow_folder

if TYPE_CHECKING:
    from pathlib import Path

COMPANIONS = (CARD_FILE, FIGURE_FILE, EVALUATION_FILE, LIBRARY_FILE)


def publish(path: Path, repository: str, *, is_private: bool) -> str:
    """Push the result of the run (or the flow) at `path` to `owner/name`, made if need be; returns its address.

    The card is written anew from the run's files. Raises `TrainingError` saying what is missing or refused.
    """
    folder = find_flow_folder(path)
    if RunFolder(path).is_begun and folder == RunFolder(path).flow:
        write_card(path)
    files = files_to_publish(folder)
    parsed = parse_repository(repository)
    if parsed is None or "@" in repository:
        raise TrainingError(f"{repository!r} is no name of a Hub repository; give --repo owner/name")
    if get_token() is None:
        raise TrainingError("publishing needs a token that may write; log in first: hf auth login (or set HF_TOKEN)")
    api = HfApi()
    operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in files]
    try:
        api.create_repo(parsed.id, private=is_private, exist_ok=True)
        api.create_commit(parsed.id, operations, commit_message=f"Publish {find_flow_file(folder).stem} with flas-tui")
    except (OSError, HTTP_ERROR, OfflineModeIsEnabled, ValueError) as error:
        raise TrainingError(_explain(error, parsed.id)) from None
    return f"{constants.ENDPOINT}/{parsed.id}"


def files_to_publish(folder: Path) -> list[Path]:
    """Return what belongs to a flow in released form; raises `FlasError` when it is not one."""
    file = find_flow_file(folder)
    if file.suffix != ".safetensors":
        raise TrainingError(f"{file} is not in released form; publish a folder with safetensors and config.json")
    base = read_flow_config(folder / "config.json").model_id
    if base and not HUB_SOURCE.fullmatch(base):
        raise TrainingError(
            f"the base {base!r} is a folder of yours, which nobody else has; set model_id in "
            f"{folder / 'config.json'} to the base's Hub repository (owner/name), and publish again"
        )
    if not (folder / CARD_FILE).exists():
        raise TrainingError(f"{folder} has no {CARD_FILE}; a flow is published with its model card")
    return [file, folder / "config.json", *(folder / name for name in COMPANIONS if (folder / name).exists())]


def _explain(error: BaseException, repository: str) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE forbids the network; unset it to publish {repository}"
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return _explain_answer(error.response.status_code, repository)
    if isinstance(error, HTTP_ERROR):
        return f"no connection to {constants.ENDPOINT} ({type(error).__name__}); check the network, and publish again"
    return f"{repository} could not be published ({type(error).__name__}); try again"


def _explain_answer(status: int, repository: str) -> str:
    if status == 401:
        return "the Hub refuses your token (401): it is mistyped, expired or revoked; log in again: hf auth login"
    if status in {403, 404}:
        return (
            f"your token may not write to {repository} ({status}); use a name of your own, or give the token write "
            "access at https://huggingface.co/settings/tokens"
        )
    return f"the Hub answers {status} for {repository}; try again later"
