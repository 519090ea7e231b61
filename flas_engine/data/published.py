"""The data sets that their authors publish: where they are, what belongs to them, how they are checked and found here.

They are kept in `<cache>/data/<name>`. `FLAS_GITHUB_RAW` and `HF_ENDPOINT` name other servers. Knows nothing of how
bytes travel (see `web_file`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.data.rows import POSITIVE
from flas_engine.errors import DataError, DownloadError
from flas_engine.paths import cache_dir, user_path
from flas_engine.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flas_engine.data.web_file import WebFile
    from flas_engine.hub.watched import Watch
    from flas_engine.progress import ReportProgress

GITHUB_RAW = "https://raw.githubusercontent.com"
_AXBENCH = "stanfordnlp/axbench/main/axbench"
_VARIANTS = {
    "concept10": ("prod_2b_l10_v1", "prod_2b_l20_v1", "prod_9b_l20_v1", "prod_9b_l31_v1"),
    "conceptFD": ("prod_2b_l10_v1", "prod_2b_l20_v1"),
    "concept500": ("prod_2b_l10_v1", "prod_2b_l20_v1", "prod_9b_l20_v1", "prod_9b_l31_v1"),
}
_LISTS_ONLY = "concept500"
"""Its rows are not in the repository."""
ROWS_PER_CONCEPT = 72
NUM_ALPACA_EVAL = 805
JUDGE_TEMPLATES = "evaluators/prompt_templates.py"
"""Where AxBench's judge templates are, in its package and so in the folder of a download."""
_JUDGE_MARK = "Rating: [["
"""What AxBench's judge is told to end with."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A data set that can be downloaded."""

    name: str
    summary: str
    github_files: tuple[str, ...] = ()
    """Paths below AxBench's package; they keep them in our folder."""
    hub_repository: str = ""
    hub_suffix: str = ""
    """Files of the Hub's repository that end so belong to it."""


PUBLICATIONS = {
    publication.name: publication
    for publication in (
        Publication(
            name="axbench",
            summary="AxBench's rows for concept10 and conceptFD, concept500's lists, the judge's templates",
            github_files=(
                *(
                    f"{folder}/{variant}/generate/{file}"
                    for folder, variants in _VARIANTS.items()
                    for variant in variants
                    for file in ("metadata.jsonl", "train_data.parquet")
                    if folder != _LISTS_ONLY or file == "metadata.jsonl"
                ),
                JUDGE_TEMPLATES,
            ),
        ),
        Publication(
            name="axbench-templates",
            summary="AxBench's judge templates alone, for flas-tui judge --rubric axbench",
            github_files=(JUDGE_TEMPLATES,),
        ),
        Publication(
            name="axbench-16k",
            summary="AxBench's rows for 16,000 concepts, in parts by model",
            hub_repository="pyvene/axbench-concept16k_v2",
            hub_suffix="train/data.parquet",
        ),
        Publication(
            name="alpaca-eval",
            summary="AlpacaEval's 805 instructions",
            hub_repository="tatsu-lab/alpaca_eval",
            hub_suffix="alpaca_eval.json",
        ),
    )
}


def download_published(
    name: str, *, part: str | None = None, force: bool = False, progress: ReportProgress = ignore_progress
) -> list[Path]:
    """Bring what is missing of the data set `name` and return its files.

    `part` chooses files of a set in several parts. Raises `DataError` for an unknown name or part, `DownloadError` when
    a file cannot be had or is not what is published.
    """
    from flas_engine.data.web_file import bring
    from flas_engine.hub.watched import run_watched

    publication = _find(name)

    def work(watch: Watch) -> list[Path]:
        files = _github_files(publication) if publication.github_files else _hub_files(publication, part)
        for file in files:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            bring(file, watch, force=force)
        return [file.path for file in files]

    return run_watched(work, progress, Progress(activity=f"looking for {name}"))


def find_published(name: str) -> list[Path]:
    """Return the files of a downloaded data set; raises `DataError` when it is not here."""
    folder = folder_of(_find(name).name)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DataError(f"{name} is not on this machine; run: flas-tui data download {name}")
    return files


def resolve_source(source: str) -> Path:
    """Return the path that `source` means: a path, or a downloaded data set by its name, or what lies in it.

    `axbench/concept10/prod_2b_l20_v1` is a folder of the data set `axbench`; raises `DataError` when that is not here.
    """
    path = user_path(source)
    name, *inner = Path(source).parts or (source,)
    if name not in PUBLICATIONS or path.exists():
        return path
    find_published(name)
    return folder_of(name).joinpath(*inner)


def folder_of(name: str) -> Path:
    """Return where the data set `name` is kept; it may not exist."""
    return cache_dir() / "data" / name


def _find(name: str) -> Publication:
    if name not in PUBLICATIONS:
        raise DataError(f"there is no data set {name!r}; there are {', '.join(PUBLICATIONS)}")
    return PUBLICATIONS[name]


def _github_files(publication: Publication) -> list[WebFile]:
    from flas_engine.data.web_file import WebFile

    server = os.environ.get("FLAS_GITHUB_RAW", GITHUB_RAW).rstrip("/")
    return [
        WebFile(
            url=f"{server}/{_AXBENCH}/{file}", path=folder_of(publication.name) / file, check=_check_of(Path(file).name)
        )
        for file in publication.github_files
    ]


def _hub_files(publication: Publication, part: str | None) -> list[WebFile]:
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    from flas_engine.data.web_file import WebFile
    from flas_engine.hub.capacity import require_disk

    if constants.HF_HUB_OFFLINE:
        return [WebFile(url="", path=path, check=_check_nothing) for path in find_published(publication.name)]
    commit, listed = _list_hub(publication)
    chosen = {file: facts for file, facts in listed.items() if part is None or file.startswith(part)}
    if not chosen or (part is None and len(chosen) > 1):
        parts = ", ".join(f"{file.removesuffix('/' + publication.hub_suffix)}" for file in sorted(listed))
        problem = f"has no part {part!r}" if part else "comes in several parts"
        raise DataError(f"{publication.name} {problem}; choose one with --part: {parts}")
    folder = folder_of(publication.name)
    missing = sum(num_bytes for file, (num_bytes, _) in chosen.items() if not (folder / file).exists())
    require_disk(folder, missing, f"downloading {publication.name}")
    return [
        WebFile(
            url=hf_hub_url(publication.hub_repository, file, repo_type="dataset", revision=commit),
            path=folder / file,
            check=_check_of(Path(file).name),
            sha256=sha256,
            headers=build_hf_headers(),
        )
        for file, (_, sha256) in sorted(chosen.items())
    ]


def _list_hub(publication: Publication) -> tuple[str, dict[str, tuple[int, str | None]]]:
    """Ask the Hub for the files of a data set: their sizes, and the sha256 of those in large file storage."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    from flas_engine.hub.failures import HTTP_ERROR

    repository = publication.hub_repository
    try:
        info = HfApi().dataset_info(repository, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError as error:
        raise DownloadError(
            f"the Hub answers {error.response.status_code} for the data set {repository}; try again later"
        ) from None
    except (HTTP_ERROR, OSError) as error:
        raise DownloadError(
            f"no connection to {constants.ENDPOINT} ({type(error).__name__}) for {repository}; check the network, then "
            f"run: flas-tui data download {publication.name}"
        ) from None
    files = {
        file.rfilename: (file.size or 0, file.lfs.sha256 if file.lfs is not None else None)
        for file in info.siblings or ()
        if file.rfilename.endswith(publication.hub_suffix)
    }
    return info.sha or "main", files


def _check_of(file_name: str) -> Callable[[Path], None]:
    return {
        "train_data.parquet": _check_axbench_rows,
        "metadata.jsonl": _check_concepts,
        "alpaca_eval.json": _check_alpaca_eval,
        "prompt_templates.py": _check_templates,
        "data.parquet": _check_parquet,
    }[file_name]


def _check_axbench_rows(path: Path) -> None:
    """Refuse rows that are not `ROWS_PER_CONCEPT` for every concept, as AxBench's are."""
    counts: dict[object, int] = {}
    for fields in _records(path):
        if fields.get("category") == POSITIVE:
            counts[fields.get("concept_id")] = counts.get(fields.get("concept_id"), 0) + 1
    if not counts or set(counts.values()) != {ROWS_PER_CONCEPT}:
        raise DownloadError(f"{_name(path)} does not have {ROWS_PER_CONCEPT} rows a concept; run the download again")


def _check_concepts(path: Path) -> None:
    if not all("concept_id" in fields and "concept" in fields for fields in _records(path)):
        raise DownloadError(f"{_name(path)} has lines without a concept; run the download again")


def _check_parquet(path: Path) -> None:
    fields = next(iter(_records(path)), {})
    if not {"input", "output"} <= fields.keys():
        raise DownloadError(f"{_name(path)} has no columns input and output; run the download again")


def _check_alpaca_eval(path: Path) -> None:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        num_instructions = sum(bool(entry["instruction"]) for entry in entries)
    except (ValueError, TypeError, KeyError):
        num_instructions = 0
    if num_instructions != NUM_ALPACA_EVAL:
        raise DownloadError(f"{_name(path)} does not hold {NUM_ALPACA_EVAL} instructions; run the download again")


def _check_templates(path: Path) -> None:
    if _JUDGE_MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise DownloadError(f"{_name(path)} does not hold the judge's templates; run the download again")


def _name(path: Path) -> str:
    from flas_engine.data.web_file import INCOMPLETE

    return path.name.removeprefix(INCOMPLETE)


def _check_nothing(path: Path) -> None:
    del path


def _records(path: Path) -> Iterator[dict[str, Any]]:
    from flas_engine.data.tables import read_records

    return (record.fields or {} for record in read_records(path))
