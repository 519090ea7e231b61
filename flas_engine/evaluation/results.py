"""What an evaluation's folder holds: a plan, generations, judgements, and who judged.

    EVAL/plan.json                    what was asked for
    EVAL/generations.jsonl            and generations-I-of-N.jsonl, those of shard I of N
    EVAL/judgements/SLUG.jsonl, .json the judgements of one judge, and who it is

Records are found by keys that say what was asked, so shards merge and a killed run goes on. Knows nothing of how texts
are written, judged or counted.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from flas_engine.atomic import write_atomically
from flas_engine.errors import EvaluationError
from flas_engine.record_log import read_records
from flas_engine.request import Limits, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Method = Literal["steering", "prompting", "baseline"]
STEERING: Method = "steering"
PROMPTING: Method = "prompting"
"""The concept is asked for in the prompt, at T = 0."""
BASELINE: Method = "baseline"
METHODS: tuple[Method, ...] = (STEERING, PROMPTING, BASELINE)

Aspect = Literal["concept", "instruction", "fluency"]
ASPECTS: tuple[Aspect, ...] = ("concept", "instruction", "fluency")

MAX_RATING = 2.0
_KEY_DIGITS = 24
_NOISE_BITS = 31
"""Enough to tell lanes apart, and short enough to be typed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedConcept:
    """A concept that texts are written for."""

    concept_id: str
    concept: str
    genre: str = ""
    """Empty when unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was asked for: all that the generations of a folder follow from."""

    model: str
    base: str
    flow: str
    """Empty without one, as is `checkpoint`."""
    checkpoint: str
    """First 16 hexadecimal digits of the sha256 of the flow's file."""
    dtype: str
    prompt_format: str
    concepts: tuple[PlannedConcept, ...]
    prompts: str
    """Where prompts are drawn from: `alpaca-eval`, `bundled`, or the name of a file."""
    prompts_hash: str
    """Of all prompts to draw from."""
    prompts_per_concept: int
    methods: tuple[Method, ...]
    flow_times: tuple[float, ...]
    """Of steering: without 0, which is the baseline."""
    seeds: tuple[int, ...]
    sampling: Sampling
    limits: Limits
    solver: str
    num_steps: int | None
    """Of the solver; None without a flow."""
    prompting: str
    """The template by which `prompting` asks for a concept; empty without that method."""
    versions: Mapping[str, str]
    """Of the packages that wrote the texts."""
    origin: str = ""
    """The file that texts were imported from; empty when they were written here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One text and what it was written for."""

    key: str
    """See `generation_key`."""
    method: Method
    concept_id: str
    concept: str
    genre: str
    """Empty when unknown."""
    input_id: int
    """The prompt's place among those of its concept, from 0."""
    input: str
    """The prompt as drawn; with `prompting`, before the concept was put into it."""
    flow_time: float
    """0 for prompting and baseline."""
    seed: int
    """The plan's; the noise of the text is that of `noise_seed`."""
    checkpoint: str
    """The flow: first 16 hexadecimal digits of the sha256 of its file; empty without one."""
    text: str
    num_tokens: int
    """Chosen tokens, an end of turn included."""
    finish_reason: str
    """As in `events.FinishReason`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What one judge says of one aspect of one text."""

    key: str
    """See `judgement_key`."""
    generation: str
    """The key of a `Generation`."""
    judge: str
    """The slug of a `JudgeInfo`."""
    aspect: Aspect
    rating: float | None
    """From 0 to 2; None when the judge failed or refused."""
    failure: str
    """Why there is no rating, in a few words; empty when there is one."""
    comment: str
    """The judge's own words, or the raw measure of an offline judge."""
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeInfo:
    """Who judged, and by what."""

    slug: str
    """Names the judge's files; see `slug_of`."""
    name: str
    """For people."""
    kind: Literal["endpoint", "offline"]
    model: str
    rubric: str
    """The name of the rubric; empty for an offline judge."""
    rubric_hash: str
    calibration: str
    """The version of an offline judge's calibration; empty for an endpoint."""


def generation_key(
    *,
    method: Method,
    concept_id: str,
    concept: str,
    input_id: int,
    input: str,
    flow_time: float,
    seed: int,
    checkpoint: str,
    settings: str,
) -> str:
    """Name a text by all that it depends on; `settings` are the plan's sampling and limits as one string."""
    time = float(flow_time) + 0.0  # -0.0 is 0.0
    return _digest(method, concept_id, concept, input_id, input, time, seed, checkpoint, settings)


def judgement_key(generation: str, judge: str, aspect: Aspect) -> str:
    """Name a judgement by the text's key, the judge's slug and the aspect."""
    return _digest(generation, judge, aspect)


def noise_seed(seed: int, concept_id: str, prompt: str) -> int:
    """Return the seed of a lane's noise: one for all flow times and methods of a concept, a prompt and a plan's seed.

    Within such a group texts differ by method alone; noise that groups shared would move all of them one way. A run
    with this seed, outside of any evaluation, repeats the text.
    """
    return int(_digest("noise", seed, concept_id, prompt), 16) >> (4 * _KEY_DIGITS - _NOISE_BITS)


def slug_of(*parts: str) -> str:
    """Return a file name for a judge: 'gpt-4o-mini', 'AxBench 1.0' -> 'gpt-4o-mini-axbench-1.0'."""
    return re.sub(r"[^a-z0-9._]+", "-", "-".join(parts).lower()).strip("-.")[:80] or "judge"


def generations_path(folder: Path, shard: int = 0, num_shards: int = 1) -> Path:
    """Return where the generations of shard `shard` (from 0) of `num_shards` are."""
    return folder / ("generations.jsonl" if num_shards == 1 else f"generations-{shard}-of-{num_shards}.jsonl")


def judgements_path(folder: Path, slug: str) -> Path:
    """Return where the judgements of a judge are; who it is stands beside it in `.json`."""
    return folder / "judgements" / f"{slug}.jsonl"


def plan_path(folder: Path) -> Path:
    """Return where the plan of an evaluation is."""
    return folder / "plan.json"


def read_plan(folder: Path) -> Plan:
    """Read what was asked for; raises `EvaluationError` when there is no plan, or it is damaged."""
    path = plan_path(folder)
    if not path.exists():
        raise EvaluationError(f"{folder} holds no evaluation: {path.name} is missing; make one with flas-tui eval")
    try:
        return _parse_plan(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path} is damaged ({error}); evaluate into another folder") from None


def write_plan(folder: Path, plan: Plan) -> None:
    """Write what is asked for; raises `EvaluationError` when that cannot be done."""
    write_json(plan_path(folder), asdict(plan))


def read_generations(folder: Path) -> list[Generation]:
    """Read all generations of an evaluation, in the order in which they were written.

    Raises `EvaluationError` when there is none, or a file is damaged.
    """
    found = find_generations(folder)
    if not found:
        raise EvaluationError(f"{folder} holds no generations; make some with flas-tui eval --out {folder}")
    return list(found.values())


def find_generations(folder: Path) -> dict[str, Generation]:
    """Return the generations that are there, of all shards, by key: of several with one key the first."""
    found: dict[str, Generation] = {}
    for path in sorted(folder.glob("generations*.jsonl")):
        for generation in read_records(path, Generation, EvaluationError):
            found.setdefault(generation.key, generation)
    return found


def read_judgements(folder: Path, slug: str | None = None) -> list[Judgement]:
    """Read the judgements of one judge, or of all; of one that was tried again the last counts."""
    slugs = [slug] if slug is not None else [judge.slug for judge in read_judges(folder)]
    return [
        judgement
        for each in slugs
        for judgement in read_records(judgements_path(folder, each), Judgement, EvaluationError)
    ]


def read_judges(folder: Path) -> tuple[JudgeInfo, ...]:
    """Read who judged an evaluation, by slug; raises `EvaluationError` when a file is damaged."""
    return tuple(_read_judge(path) for path in sorted((folder / "judgements").glob("*.json")))


def write_judge(folder: Path, judge: JudgeInfo) -> None:
    """Write who judges beside the judgements; raises `EvaluationError` when that cannot be done."""
    path = judgements_path(folder, judge.slug).with_suffix(".json")
    write_json(path, asdict(judge))


def write_json(path: Path, content: object) -> None:
    """Write a file of an evaluation whole or not at all; raises `EvaluationError` when it cannot be written."""
    try:
        write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be written ({error.strerror}); check its permissions and the disk, "
            "then run the same command: it goes on"
        ) from None


def _parse_plan(raw: dict[str, Any]) -> Plan:
    limits = raw["limits"]
    parsed = {
        "concepts": tuple(PlannedConcept(**concept) for concept in raw["concepts"]),
        "sampling": Sampling(**raw["sampling"]),
        "limits": Limits(max_new_tokens=limits["max_new_tokens"], stop=tuple(limits["stop"])),
    }
    lists = {name: tuple(raw[name]) for name in ("methods", "flow_times", "seeds")}
    return Plan(**(raw | parsed | lists))


def _read_judge(path: Path) -> JudgeInfo:
    try:
        return JudgeInfo(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EvaluationError(f"{path} is damaged ({error}); judge again, or mend it") from None


def _digest(*parts: object) -> str:
    content = json.dumps(parts, ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:_KEY_DIGITS]
