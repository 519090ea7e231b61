"""Answers of a local model: batches and their seeds, and a run that goes on as if it had never stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scripted_engine import ScriptedEngine

from flas_engine.data.answer_log import Answer, AnswerLog
from flas_engine.data.local_answers import LocalAnswers
from flas_engine.data.makers import answer_plainly, ask_all
from flas_engine.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUESTIONS = [f"Question {number}?" for number in range(10)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AnswerLog]:
    with AnswerLog(tmp_path / "answers.jsonl") as opened:
        yield opened


def answerer(engine: ScriptedEngine, seed: int = 0) -> LocalAnswers:
    return LocalAnswers(model="scripted", open_engine=lambda: engine, num_lanes=4, max_tokens=12, seed=seed)


def asked(engine: ScriptedEngine) -> list[list[str]]:
    return [[lane.conversation[0].content for lane in request.lanes] for request in engine.requests]


def test_questions_go_out_in_full_batches_of_baseline_lanes(log: AnswerLog) -> None:
    engine = ScriptedEngine()
    ask_all(QUESTIONS, answerer(engine), log, ignore_progress)
    assert asked(engine) == [QUESTIONS[:4], QUESTIONS[4:8], QUESTIONS[8:]]
    assert all(lane.is_baseline for request in engine.requests for lane in request.lanes)
    assert len(log) == len(QUESTIONS)


def test_every_batch_has_noise_of_its_own_that_follows_from_the_seed(log: AnswerLog) -> None:
    engine = ScriptedEngine()
    list(answerer(engine, seed=1).answer(QUESTIONS, log))
    list(answerer(engine, seed=2).answer(QUESTIONS, log))
    list(answerer(engine, seed=1).answer(QUESTIONS, log))
    seeds = [request.seed for request in engine.requests]
    assert len(set(seeds)) == 6
    assert seeds[:3] == seeds[6:]


def test_a_run_that_goes_on_asks_what_an_undisturbed_one_would(log: AnswerLog) -> None:
    stopped, going_on, undisturbed = ScriptedEngine(), ScriptedEngine(), ScriptedEngine()
    log.add(next(answerer(stopped).answer(QUESTIONS, log)))
    whole = list(answerer(undisturbed).answer(QUESTIONS, _EmptyLog()))
    rest = list(answerer(going_on).answer(QUESTIONS, log))
    assert going_on.requests == undisturbed.requests[1:]
    assert rest == whole[1:]


def test_no_engine_is_loaded_when_nothing_is_missing(log: AnswerLog) -> None:
    ask_all(QUESTIONS, answerer(ScriptedEngine()), log, ignore_progress)

    def refuse() -> ScriptedEngine:
        raise AssertionError("an engine was loaded for nothing")

    done = LocalAnswers(model="scripted", open_engine=refuse, num_lanes=4, max_tokens=12)
    assert len(ask_all(QUESTIONS, done, log, ignore_progress)) == len(QUESTIONS)


def test_another_model_or_another_limit_asks_anew(log: AnswerLog) -> None:
    engine = ScriptedEngine()
    ask_all(QUESTIONS[:1], answerer(engine), log, ignore_progress)
    other = LocalAnswers(model="scripted", open_engine=lambda: engine, num_lanes=4, max_tokens=13)
    ask_all(QUESTIONS[:1], other, log, ignore_progress)
    assert len(engine.requests) == 2


def test_progress_counts_what_was_missing(log: AnswerLog) -> None:
    seen: list[Progress] = []
    ask_all(QUESTIONS, answerer(ScriptedEngine()), log, seen.append)
    assert [(progress.done, progress.total) for progress in seen] == [(4, 10), (8, 10), (10, 10)]


def test_plain_answers_are_cut_to_sentences_and_counted_when_they_make_none(log: AnswerLog) -> None:
    texts = {0: ["Here is an answer of some words. And then"], 1: ["I'm sorry, but I can't help with that."]}
    plain = answer_plainly(QUESTIONS[:2], answerer(ScriptedEngine(answers=texts)), log)
    assert list(plain.texts) == QUESTIONS[:1]
    assert plain.rejections == ["refusal"]


class _EmptyLog(AnswerLog):
    """Knows no answer."""

    def __init__(self) -> None:
        pass

    def get(self, key: str) -> Answer | None:
        del key
        return None
