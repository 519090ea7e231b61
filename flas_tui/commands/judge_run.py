"""What `flas-tui judge` does with its options: who judges, by what, at what price, and where judgements go."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.endpoint import KEY_VARIABLE, Endpoint
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import read_generations, read_judgements, read_plan
from flas_engine.info import LoadSpec
from flas_engine.judge.calibration import calibration_of
from flas_engine.judge.cost import Prices, list_prices
from flas_engine.judge.judgement_log import JudgementLog
from flas_engine.judge.judging import (
    EndpointJudge,
    endpoint_info,
    estimate,
    judge_questions,
    open_questions,
)
from flas_engine.judge.offline import judge_offline, offline_info
from flas_engine.judge.rubric import FLAS, find_rubric
from flas_engine.judge.summary import summarize
from flas_engine.progress import ignore_progress
from flas_tui.commands.engine_loading import open_engine
from flas_tui.commands.judge_report import describe_estimate
from flas_tui.commands.work_narrator import WorkNarrator
from flas_tui.console import say
from flas_tui.logs import start_logging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flas_engine.engine import Engine
    from flas_engine.evaluation.results import JudgeInfo
    from flas_engine.judge.judging import Estimate
    from flas_engine.judge.summary import JudgingSummary
    from flas_engine.progress import ReportProgress

MODEL_VARIABLE, URL_VARIABLE = "FLAS_JUDGE_MODEL", "OPENAI_BASE_URL"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4o-mini"
"""The judge of AxBench's protocol."""


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """The options of one run, as given."""

    folder: Path
    model: str | None
    base_url: str | None
    rubric: str
    is_offline: bool
    name: str | None
    concurrency: int
    max_tokens: int
    num_tries: int
    timeout_seconds: float
    price_input: float | None
    price_output: float | None
    limit_dollars: float | None
    retries_failed: bool
    device: str | None
    dtype: str | None
    quiet: bool


def run_judge(options: JudgeOptions) -> tuple[JudgingSummary, str]:
    """Judge what is not judged yet; return what there is now, and why it is not all (empty when it is).

    Raises `FlasError` when it cannot be done.
    """
    start_logging()
    return _run_offline(options) if options.is_offline else _run_endpoint(options)


def estimate_judging(options: JudgeOptions) -> Estimate:
    """Say what a run would ask, and ask nothing; raises `FlasError` when it could not begin."""
    if options.is_offline:
        raise EvaluationError("--dry-run says what a server would be asked, and --offline asks none; leave one out")
    judge = _endpoint_judge(options)
    done = read_judgements(options.folder, judge.info.slug)
    generations = read_generations(options.folder)
    return estimate(open_questions(generations, judge.info.slug, done, retries_failed=options.retries_failed), judge)


def _run_endpoint(options: JudgeOptions) -> tuple[JudgingSummary, str]:
    judge = _endpoint_judge(options)
    generations = read_generations(options.folder)
    with _opened_log(options, judge.info) as (log, progress):
        questions = open_questions(generations, judge.info.slug, log, retries_failed=options.retries_failed)
        if not options.quiet and questions:
            say(f"asking {judge.info.model}: {describe_estimate(estimate(questions, judge))}")
        num_left = judge_questions(questions, judge, log, progress)
        summary = summarize(judge.info, generations, list(log), judge.prices)
    if not num_left:
        return summary, ""
    return summary, (
        f"the next question could bring the cost above {options.limit_dollars:g} dollars; {num_left:,} are left: "
        "raise --limit-cost, then run the same command: it goes on"
    )


def _run_offline(options: JudgeOptions) -> tuple[JudgingSummary, str]:
    _refuse_what_is_for_servers(options)
    generations = read_generations(options.folder)
    engine = _open_judge(options)
    info = offline_info(engine.info, options.name)
    with _opened_log(options, info) as (log, progress):
        calibration = calibration_of(options.folder, info.slug, engine, progress)
        judge_offline(engine, generations, info, calibration, log, progress)
        return summarize(info, generations, list(log)), ""


def _refuse_what_is_for_servers(options: JudgeOptions) -> None:
    given = {
        "--base-url": options.base_url is not None,
        "--rubric": options.rubric != FLAS,
        "--limit-cost": options.limit_dollars is not None,
        "--retry-failed": options.retries_failed,
    }
    for name, is_given in given.items():
        if is_given:
            raise EvaluationError(
                f"{name} is for judges that are asked, and --offline asks none; leave one of them out"
            )


def _open_judge(options: JudgeOptions) -> Engine:
    """Load the model that judges: the one that is named, else the base that wrote the texts, without its flow."""
    from flas_engine.engine import Engine

    named = {"model": options.model} if options.model else {"base": read_plan(options.folder).base}
    spec = LoadSpec(**named, device=options.device, dtype=options.dtype, compiles=False)
    engine = open_engine(spec, quiet=options.quiet)
    assert isinstance(engine, Engine)
    return engine


@contextmanager
def _opened_log(options: JudgeOptions, judge: JudgeInfo) -> Iterator[tuple[JudgementLog, ReportProgress]]:
    with ExitStack() as stack:
        log = stack.enter_context(JudgementLog(options.folder, judge))
        progress: ReportProgress = ignore_progress if options.quiet else stack.enter_context(WorkNarrator())
        try:
            yield log, progress
        except KeyboardInterrupt:
            say("stopped, with every judgement kept; the same command goes on")
            raise


def _endpoint_judge(options: JudgeOptions) -> EndpointJudge:
    url, model = _choose_endpoint(options)
    rubric = find_rubric(options.rubric)
    return EndpointJudge(
        info=endpoint_info(model, rubric, options.name),
        endpoint=Endpoint(url=url, model=model, timeout_seconds=options.timeout_seconds),
        rubric=rubric,
        concurrency=options.concurrency,
        max_tokens=options.max_tokens,
        num_tries=options.num_tries,
        prices=_choose_prices(options, url, model),
        limit_dollars=options.limit_dollars,
    )


def _choose_endpoint(options: JudgeOptions) -> tuple[str, str]:
    """Take options before the environment, and that before the protocol's own judge."""
    url = options.base_url or os.environ.get(URL_VARIABLE) or OPENAI_URL
    model = options.model or os.environ.get(MODEL_VARIABLE)
    if url.rstrip("/") != OPENAI_URL:
        if not model:
            raise EvaluationError(f"which model of that server judges? name it with --model or in {MODEL_VARIABLE}")
    elif not os.environ.get(KEY_VARIABLE):
        raise EvaluationError(
            f"OpenAI's server needs a key, and {KEY_VARIABLE} is empty; put one into it, name a server of your own "
            "with --base-url, or judge without any with --offline"
        )
    return url, model or OPENAI_MODEL


def _choose_prices(options: JudgeOptions, url: str, model: str) -> Prices | None:
    if options.price_input is None and options.price_output is None:
        return list_prices(model) if url.rstrip("/") == OPENAI_URL else None
    if options.price_input is None or options.price_output is None:
        raise EvaluationError("--price-input and --price-output belong together: dollars for a million tokens")
    return Prices(prompt=options.price_input, completion=options.price_output)
