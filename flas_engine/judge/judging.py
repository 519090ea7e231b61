"""Asks a judge about every aspect of every text, and keeps each judgement as it comes.

A question that goes on failing is kept with its reason, so that every item ends judged or counted as failed. Knows
nothing of how a server is spoken to (see `endpoint`) and of what becomes of the ratings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flas_engine.at_once import map_at_once
from flas_engine.data.screening import is_refusal
from flas_engine.endpoint import CONTENT_FILTER, EndpointClient, MalformedReply, NoReply
from flas_engine.errors import EndpointError, EvaluationError
from flas_engine.evaluation.results import ASPECTS, JudgeInfo, Judgement, judgement_key, slug_of
from flas_engine.judge.cost import ANSWER_TOKENS, Budget, estimate_tokens
from flas_engine.judge.rating import parse_rating
from flas_engine.judge.rubric import FLAS
from flas_engine.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flas_engine.endpoint import Endpoint, Reply
    from flas_engine.evaluation.results import Aspect, Generation
    from flas_engine.judge.cost import Prices
    from flas_engine.judge.rubric import Rubric
    from flas_engine.progress import ReportProgress
    from flas_engine.record_log import RecordLog

UNANSWERED_IN_A_ROW = 20
"""So many questions without any answer, one after the other, mean that the server is gone or does not take them."""
ASK_AGAIN_TEMPERATURE = 0.7
"""At 0 a judge would repeat the answer that held no rating."""


@dataclass(frozen=True, kw_only=True)
class EndpointJudge:
    """A model that is asked by a rubric."""

    info: JudgeInfo
    endpoint: Endpoint
    rubric: Rubric
    concurrency: int = 8
    max_tokens: int = 400
    """Of an answer: a judge that runs on never comes to its rating."""
    num_tries: int = 3
    """How often a question is asked until its answer holds a rating."""
    prices: Prices | None = None
    limit_dollars: float | None = None
    """Nothing is asked that could bring the cost of all of this judge's judgements above it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One aspect of one text that awaits judgement."""

    key: str
    generation: Generation
    aspect: Aspect


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What judging would take."""

    num_questions: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None
    """None without prices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    judgement: Judgement
    is_answered: bool
    reserved: float


def endpoint_info(model: str, rubric: Rubric, name: str | None = None) -> JudgeInfo:
    """Return who judges; without a `name` it is called after the model, and after a rubric that is not ours."""
    called = name or " ".join([model] if rubric.name == FLAS else [model, rubric.name])
    return JudgeInfo(
        slug=slug_of(called),
        name=called,
        kind="endpoint",
        model=model,
        rubric=f"{rubric.name} {rubric.version}",
        rubric_hash=rubric.hash,
        calibration="",
    )


def open_questions(
    generations: Iterable[Generation], slug: str, done: Iterable[Judgement], *, retries_failed: bool = False
) -> list[Question]:
    """Return what the judge `slug` has not judged, text by text; with `retries_failed` what failed, too."""
    settled = {judgement.key for judgement in done if judgement.rating is not None or not retries_failed}
    return [
        Question(key=key, generation=generation, aspect=aspect)
        for generation in generations
        for aspect in ASPECTS
        if (key := judgement_key(generation.key, slug, aspect)) not in settled
    ]


def estimate(questions: Sequence[Question], judge: EndpointJudge) -> Estimate:
    """Estimate what `questions` take when each is asked once."""
    prompt_tokens = sum(estimate_tokens(_text_of(question, judge)) for question in questions)
    completion_tokens = len(questions) * ANSWER_TOKENS
    return Estimate(
        num_questions=len(questions),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        dollars=None if judge.prices is None else judge.prices.dollars(prompt_tokens, completion_tokens),
    )


def judge_questions(
    questions: Sequence[Question],
    judge: EndpointJudge,
    log: RecordLog[Judgement],
    progress: ReportProgress = ignore_progress,
) -> int:
    """Ask all `questions`, append what comes to `log`, and return how many the limit of the cost left unasked.

    Raises `EndpointError` at once when the server is not there, does not take the key or does not know the model, and
    after `UNANSWERED_IN_A_ROW` failures on the way.
    """
    if not questions:
        return 0
    run = _Run(judge, log)
    activity = f"judging by {judge.info.name}"
    with EndpointClient(judge.endpoint) as client:
        asked = map_at_once(lambda pair: _ask(client, judge, *pair), run.affordable(questions), judge.concurrency)
        for number, each in enumerate(asked, 1):
            run.keep(each)
            progress(Progress(activity=activity, done=number, total=len(questions)))
    return len(questions) - run.num_kept


class _Run:
    """What one run keeps count of, in the thread that draws questions and keeps judgements."""

    def __init__(self, judge: EndpointJudge, log: RecordLog[Judgement]) -> None:
        self.num_kept = 0
        self._log = log
        self._num_unanswered = 0
        self._budget = _budget_of(judge, log)
        self._judge = judge

    def affordable(self, questions: Iterable[Question]) -> Iterator[tuple[Question, float] | None]:
        """Yield questions with the dollars that are set aside for each, until the next could pass the limit.

        While it only could because of what is under way, yield None: those questions may turn out cheaper.
        """
        for num_drawn, question in enumerate(questions):
            while (reserved := self._reserve(question)) is None:
                if num_drawn == self.num_kept:
                    return
                yield None
            yield question, reserved

    def _reserve(self, question: Question) -> float | None:
        if self._budget is None:
            return 0.0
        judge = self._judge
        return self._budget.reserve(_text_of(question, judge), judge.max_tokens, judge.num_tries)

    def keep(self, asked: _Asked) -> None:
        """Append a judgement; raises `EndpointError` when nobody answers any more."""
        judgement = asked.judgement
        if self._budget is not None:
            self._budget.settle(asked.reserved, judgement.prompt_tokens, judgement.completion_tokens)
        self._log.append(_with_tokens_of(self._log.get(judgement.key), judgement))
        self.num_kept += 1
        self._num_unanswered = 0 if asked.is_answered else self._num_unanswered + 1
        if self._num_unanswered == UNANSWERED_IN_A_ROW:
            raise EndpointError(
                f"{self._judge.endpoint.address} left {UNANSWERED_IN_A_ROW} questions in a row without an answer "
                f"({judgement.failure}); see to it, then run the same command with --retry-failed: it goes on"
            )


def _with_tokens_of(failed: Judgement | None, judgement: Judgement) -> Judgement:
    """Add the tokens of a failed try to those of the one that takes its place: they were paid for."""
    if failed is None:
        return judgement
    return replace(
        judgement,
        prompt_tokens=judgement.prompt_tokens + failed.prompt_tokens,
        completion_tokens=judgement.completion_tokens + failed.completion_tokens,
    )


def _budget_of(judge: EndpointJudge, log: RecordLog[Judgement]) -> Budget | None:
    if judge.limit_dollars is None:
        return None
    if judge.prices is None:
        raise EvaluationError(
            f"the prices of {judge.info.model} are unknown, so no cost can be kept; give --price-input and "
            "--price-output, in dollars for a million tokens"
        )
    spent = sum(judge.prices.dollars(each.prompt_tokens, each.completion_tokens) for each in log)
    return Budget(limit=judge.limit_dollars, prices=judge.prices, spent=spent)


def _text_of(question: Question, judge: EndpointJudge) -> str:
    return judge.rubric.ask(question.aspect, question.generation)


def _ask(client: EndpointClient, judge: EndpointJudge, question: Question, reserved: float) -> _Asked:
    """Ask until an answer holds a rating, the first time at temperature 0."""
    text = _text_of(question, judge)
    replies: list[Reply] = []
    rating, failure = None, ""
    for number in range(judge.num_tries):
        temperature, seed = (ASK_AGAIN_TEMPERATURE, number) if replies else (0.0, None)
        try:
            reply = client.ask(text, max_tokens=judge.max_tokens, temperature=temperature, seed=seed)
        except MalformedReply as error:
            failure = error.reason
            continue
        except NoReply as error:  # the client has tried often enough
            failure = error.reason
            break
        replies.append(reply)
        rating = None if reply.refusal else parse_rating(reply.text)
        failure = "" if rating is not None else _why_unrated(reply, judge)
        if rating is not None or reply.refusal:
            break
    return _Asked(
        judgement=Judgement(
            key=question.key,
            generation=question.generation.key,
            judge=judge.info.slug,
            aspect=question.aspect,
            rating=rating,
            failure=failure,
            comment=replies[-1].text.strip() if replies else "",
            prompt_tokens=sum(reply.prompt_tokens for reply in replies),
            completion_tokens=sum(reply.completion_tokens for reply in replies),
        ),
        is_answered=bool(replies),
        reserved=reserved,
    )


def _why_unrated(reply: Reply, judge: EndpointJudge) -> str:
    if reply.refusal:
        return "refused by a content filter" if reply.refusal == CONTENT_FILTER else "refused"
    if is_refusal(reply.text):
        return "refused"
    return f"cut at {judge.max_tokens} tokens, without a rating" if reply.is_cut else "no rating in the answer"
