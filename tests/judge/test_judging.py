"""Judging through a real server on loopback that goes wrong in every way that such servers do."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from data.chat_server import GOOD_KEY, ChatServer
from judge.small_evaluation import write_generations

from flas_engine.endpoint import Endpoint
from flas_engine.errors import EndpointError, EvaluationError
from flas_engine.evaluation.results import ASPECTS, judgements_path, read_judgements, read_judges
from flas_engine.judge.cost import Prices, list_prices
from flas_engine.judge.judgement_log import JudgementLog
from flas_engine.judge.judging import (
    UNANSWERED_IN_A_ROW,
    EndpointJudge,
    endpoint_info,
    estimate,
    judge_questions,
    open_questions,
)
from flas_engine.judge.rubric import find_rubric
from flas_engine.judge.summary import summarize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from flas_engine.evaluation.results import Generation

RUBRIC = find_rubric("flas")
RATING = "It is there.\n\nRating: [[2]]"
PRICES = Prices(prompt=1.0, completion=10.0)
QUESTION_DOLLARS = (100 * 1.0 + 10 * 10.0) / 1_000_000
"""What the server's counts of tokens come to."""
TIMEOUT_SECONDS = 1.0
FAULTS = {
    "429": "429 Too Many Requests",
    "500": "500 Internal Server Error",
    "503 overloaded_error": "503 overloaded_error",
    "400 context_length_exceeded": "400 context_length_exceeded",
    "400 content_filter": "refused by a content filter",
    "silence": "timed out",
    "truncated": "connection broken",
    "half of it": "no chat answer",
    "page": "no chat answer",
    "refusal": "refused",
    "filtered": "refused by a content filter",
    "I'm sorry, but I can't rate that.": "refused",
    "Blue. Rating: [[7]]": "no rating in the answer",
}
"""By what the server does, always: the reason that is kept."""
PASSING = ("429", "500", "silence", "truncated", "half of it", "page", "Blue. Rating: [[7]]")
"""What another try gets around."""


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        running.behavior.answer = lambda _: RATING
        yield running


def judge_of(server: ChatServer, **settings: Any) -> EndpointJudge:
    endpoint = Endpoint(url=server.url, model="tiny", max_retries=2, timeout_seconds=TIMEOUT_SECONDS)
    defaults: dict[str, Any] = {"info": endpoint_info("tiny", RUBRIC), "endpoint": endpoint, "rubric": RUBRIC}
    return EndpointJudge(**(defaults | settings))


def run(folder: Path, generations: Sequence[Generation], judge: EndpointJudge, *, retries_failed: bool = False) -> int:
    with JudgementLog(folder, judge.info) as log:
        questions = open_questions(generations, judge.info.slug, log, retries_failed=retries_failed)
        return judge_questions(questions, judge, log)


def by_text(folder: Path, generations: Sequence[Generation]) -> dict[str, set[tuple[float | None, str]]]:
    """Rating and failure of every aspect, by the judged text."""
    texts = {generation.key: generation.text for generation in generations}
    found: dict[str, set[tuple[float | None, str]]] = {text: set() for text in texts.values()}
    for judgement in read_judgements(folder):
        found[texts[judgement.generation]].add((judgement.rating, judgement.failure))
    return found


def test_every_item_ends_judged_or_failed_with_its_reason(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(
        tmp_path, ["a fine text", *(f"always {fault}!" for fault in FAULTS), *(f"once {fault}!" for fault in PASSING)]
    )
    seen: Counter[str] = Counter()

    def fault_of(question: str) -> str:
        seen[question] += 1
        for fault in FAULTS:
            if f"always {fault}!" in question or (f"once {fault}!" in question and seen[question] == 1):
                return fault
        return ""

    server.behavior.fault_of = fault_of
    assert run(tmp_path, generations, judge_of(server, concurrency=16)) == 0
    expected = {"a fine text": {(2.0, "")}}
    expected |= {f"always {fault}!": {(None, reason)} for fault, reason in FAULTS.items()}
    expected |= {f"once {fault}!": {(2.0, "")} for fault in PASSING}
    assert by_text(tmp_path, generations) == expected
    summary = summarize(endpoint_info("tiny", RUBRIC), generations, read_judgements(tmp_path))
    assert (summary.num_rated, summary.num_failed, summary.num_open) == (3 * 8, 3 * 13, 0)
    assert summary.failures["refused"] == 3 * 2


def test_a_pause_that_the_server_asks_for_is_kept(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["text"])
    server.behavior.statuses, server.behavior.retry_after = [429], 1
    run(tmp_path, generations, judge_of(server, concurrency=1))
    assert server.arrivals[1] - server.arrivals[0] >= 1.0


@pytest.mark.parametrize(("status", "message"), [(401, "refuses the key"), (404, "knows no model 'tiny'")])
def test_a_wrong_key_and_an_unknown_model_stop_at_once(
    server: ChatServer, tmp_path: Path, status: int, message: str
) -> None:
    generations = write_generations(tmp_path, ["text"] * 20)
    server.behavior.always = status
    with pytest.raises(EndpointError, match=message):
        run(tmp_path, generations, judge_of(server, concurrency=2))
    assert list((tmp_path / "judgements").glob("[!.]*")) == []
    assert len(server.questions) <= 4


def test_an_account_without_credit_stops_at_once(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["text"] * 20)
    server.behavior.fault_of = lambda _: "429 insufficient_quota"
    with pytest.raises(EndpointError, match="no credit left"):
        run(tmp_path, generations, judge_of(server, concurrency=1))
    assert read_judgements(tmp_path) == []


@pytest.mark.parametrize("host", ["127.0.0.1:9", "too-long-for-a-name" * 4])
def test_no_server_at_all_stops_at_once(tmp_path: Path, host: str) -> None:
    generations = write_generations(tmp_path, ["text"] * 20)
    endpoint = Endpoint(url=f"http://{host}/v1", model="tiny")
    judge = EndpointJudge(info=endpoint_info("tiny", RUBRIC), endpoint=endpoint, rubric=RUBRIC)
    with pytest.raises(EndpointError, match=f"no connection to http://{re.escape(host)}/v1"):
        run(tmp_path, generations, judge)
    assert read_judgements(tmp_path) == []


def test_a_server_that_never_answers_is_given_up_and_failures_are_asked_again_on_request(
    server: ChatServer, tmp_path: Path
) -> None:
    generations = write_generations(tmp_path, ["text"] * 20)
    server.behavior.always = 500
    with pytest.raises(EndpointError, match=r"20 questions in a row without an answer.*--retry-failed"):
        run(tmp_path, generations, judge_of(server))
    assert len(read_judgements(tmp_path)) == UNANSWERED_IN_A_ROW
    server.behavior.always = None
    run(tmp_path, generations, judge_of(server))
    assert sum(judgement.rating is None for judgement in read_judgements(tmp_path)) == UNANSWERED_IN_A_ROW
    run(tmp_path, generations, judge_of(server), retries_failed=True)
    judgements = read_judgements(tmp_path)
    assert len(judgements) == 60
    assert {judgement.rating for judgement in judgements} == {2.0}


def test_nothing_is_asked_twice(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["one", "two"])
    run(tmp_path, generations, judge_of(server))
    before = judgements_path(tmp_path, "tiny").read_bytes()
    run(tmp_path, generations, judge_of(server))
    assert len(server.questions) == 6
    assert judgements_path(tmp_path, "tiny").read_bytes() == before


def test_nonsense_is_asked_again_with_other_noise_and_all_tokens_count(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["text"])
    server.behavior.fault_of = lambda _: "Hm."
    run(tmp_path, generations, judge_of(server, concurrency=1))
    first = [(each["temperature"], each.get("seed")) for each in server.requests[:3]]
    assert first == [(0.0, None), (0.7, 1), (0.7, 2)]
    (judgement, *_) = read_judgements(tmp_path)
    assert (judgement.comment, judgement.prompt_tokens, judgement.completion_tokens) == ("Hm.", 300, 30)


def test_tokens_of_a_failed_try_are_not_forgotten(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["text"])
    server.behavior.fault_of = lambda _: "Hm."
    run(tmp_path, generations, judge_of(server))
    server.behavior.fault_of = None
    run(tmp_path, generations, judge_of(server), retries_failed=True)
    assert {judgement.prompt_tokens for judgement in read_judgements(tmp_path)} == {400}


def test_the_cost_never_passes_its_limit_and_the_run_goes_on_under_a_higher_one(
    server: ChatServer, tmp_path: Path
) -> None:
    generations = write_generations(tmp_path, ["text"] * 20)
    limit = 40 * QUESTION_DOLLARS
    judge = judge_of(server, prices=PRICES, limit_dollars=limit, max_tokens=20)
    num_left = run(tmp_path, generations, judge)
    spent = summarize(judge.info, generations, read_judgements(tmp_path), PRICES).dollars
    assert spent is not None
    assert 0 < num_left < 60
    assert limit / 2 < spent <= limit
    assert run(tmp_path, generations, judge) == num_left
    assert run(tmp_path, generations, replace(judge, limit_dollars=1.0)) == 0
    assert len(read_judgements(tmp_path)) == len(server.questions) == 60


def test_a_server_that_does_not_count_is_held_to_the_limit_by_what_its_answers_can_cost(
    server: ChatServer, tmp_path: Path
) -> None:
    generations = write_generations(tmp_path, ["text"] * 20)
    server.behavior.counts_tokens = False
    judge = judge_of(server, prices=PRICES, limit_dollars=60 * QUESTION_DOLLARS, max_tokens=20)
    assert run(tmp_path, generations, judge) > 0
    summary = summarize(judge.info, generations, read_judgements(tmp_path), PRICES)
    assert summary.num_uncounted == summary.num_rated > 0


def test_a_limit_needs_prices(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["text"])
    with pytest.raises(EvaluationError, match=r"prices of tiny are unknown.*--price-input"):
        run(tmp_path, generations, judge_of(server, limit_dollars=1.0))


def test_the_estimate_is_of_what_is_open(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["one", "two", "three"])
    judge = judge_of(server, prices=PRICES)
    questions = open_questions(generations, "tiny", [])
    found = estimate(questions, judge)
    asked = "".join(RUBRIC.ask(question.aspect, question.generation) for question in questions)
    assert found.num_questions == 9
    assert found.prompt_tokens == pytest.approx(len(asked) / 4, rel=0.01)
    assert found.dollars == PRICES.dollars(found.prompt_tokens, found.completion_tokens)
    assert estimate(questions, judge_of(server)).dollars is None


def test_list_prices_cover_snapshots_and_nothing_unknown() -> None:
    assert list_prices("gpt-4o-mini") == list_prices("gpt-4o-mini-2024-07-18") == Prices(prompt=0.15, completion=0.6)
    assert list_prices("gpt-4o") is None
    assert Prices(prompt=0.15, completion=0.6).dollars(2_000_000, 1_000_000) == pytest.approx(0.9)


def test_a_model_that_does_not_take_a_parameter_is_asked_without_it(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["one", "two"])
    server.behavior.refuses = ("max_tokens", "temperature")
    run(tmp_path, generations, judge_of(server, concurrency=1))
    assert {judgement.rating for judgement in read_judgements(tmp_path)} == {2.0}
    assert len(server.requests) == 2 + 6
    assert server.requests[-1]["max_completion_tokens"] == 400


def test_a_parameter_that_nothing_can_stand_for_is_a_failure_and_no_endless_question(
    server: ChatServer, tmp_path: Path
) -> None:
    generations = write_generations(tmp_path, ["one"])
    server.behavior.refuses = ("max_tokens", "max_completion_tokens")
    run(tmp_path, generations, judge_of(server, concurrency=1))
    assert {judgement.failure for judgement in read_judgements(tmp_path)} == {"400 unsupported_parameter"}


def test_a_word_in_the_place_of_a_key_is_no_secret(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ing")
    generations = write_generations(tmp_path, ["one"])
    run(tmp_path, generations, judge_of(server))
    assert {(judgement.rating, judgement.comment) for judgement in read_judgements(tmp_path)} == {(2.0, RATING)}


def test_judges_of_one_name_are_kept_apart(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["text"])
    run(tmp_path, generations, judge_of(server))
    other = replace(RUBRIC, version="2")
    with pytest.raises(EvaluationError, match=f"{RUBRIC.hash}.*{other.hash}.*--name"):
        JudgementLog(tmp_path, endpoint_info("tiny", other))
    run(tmp_path, generations, judge_of(server, info=endpoint_info("tiny", other, "second")))
    assert [judge.slug for judge in read_judges(tmp_path)] == ["second", "tiny"]
    assert endpoint_info("tiny", replace(RUBRIC, name="mine")).slug == "tiny-mine"


def test_a_text_that_was_judged_before_it_was_lost_is_left_out_of_the_counts(
    server: ChatServer, tmp_path: Path
) -> None:
    generations = write_generations(tmp_path, ["one", "two"])
    run(tmp_path, generations, judge_of(server))
    summary = summarize(endpoint_info("tiny", RUBRIC), generations[:1], read_judgements(tmp_path))
    assert {aspect: summary.aspects[aspect].num_rated for aspect in ASPECTS} == dict.fromkeys(ASPECTS, 1)
    assert summary.prompt_tokens == 600


def test_neither_key_nor_password_reaches_what_is_kept(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", GOOD_KEY)
    server.behavior.fault_of = lambda question: (
        "401 no" if "bad" in question else f"Your key is {GOOD_KEY}. Rating: [[1]]"
    )
    generations = write_generations(tmp_path, ["good", "bad"])
    url = server.url.replace("//", "//user:hunter2hunter2@")
    judge = judge_of(server, endpoint=Endpoint(url=url, model="tiny"), concurrency=1)
    with pytest.raises(EndpointError) as refused:
        run(tmp_path, generations, judge)
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "[secret]" in kept
    told = kept + str(refused.value) + repr(judge)
    assert not [secret for secret in (GOOD_KEY, "hunter2") if secret in told]


def test_a_password_in_the_address_is_sent_as_one(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path, ["text"])
    server.behavior.key = None
    url = server.url.replace("//", "//me:p%40ss@")
    run(tmp_path, generations, judge_of(server, endpoint=Endpoint(url=url, model="tiny")))
    assert set(server.authorizations) == {"Basic bWU6cEBzcw=="}


def test_ratings_of_any_order_of_arrival_are_the_same_set(server: ChatServer, tmp_path: Path) -> None:
    generations = write_generations(tmp_path / "many", [f"text {number}" for number in range(8)])
    server.behavior.answer = lambda question: f"Rating: [[{random.Random(question).randrange(3)}]]"
    run(tmp_path / "many", generations, judge_of(server, concurrency=8))
    run(tmp_path / "one", generations, judge_of(server, concurrency=1))
    kept = [sorted(map(repr, read_judgements(tmp_path / name))) for name in ("many", "one")]
    assert kept[0] == kept[1]
    assert len({json.loads(line)["key"] for line in judgements_path(tmp_path / "many", "tiny").open()}) == 24
