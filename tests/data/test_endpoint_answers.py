"""Answers from a real OpenAI-compatible server on loopback, and what its failures are called."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from data.chat_server import GOOD_KEY, ChatServer

from flas_engine.data.answer_log import AnswerLog
from flas_engine.data.endpoint_answers import EndpointAnswers
from flas_engine.endpoint import Endpoint
from flas_engine.errors import EndpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flas_engine.data.answer_log import Answer

QUESTIONS = [f"Question {number}?" for number in range(12)]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AnswerLog]:
    with AnswerLog(tmp_path / "answers.jsonl") as opened:
        yield opened


def ask(
    server: ChatServer, log: AnswerLog, questions: list[str] = QUESTIONS, *, max_retries: int = 6, **settings: Any
) -> list[Answer]:
    endpoint = Endpoint(url=server.url, model="tiny", max_retries=max_retries)
    answerer = EndpointAnswers(endpoint=endpoint, **settings)
    answers: list[Answer] = []
    for batch in answerer.answer(questions, log):
        log.add(batch)
        answers += batch
    return answers


def test_every_question_is_answered_and_none_is_asked_again(server: ChatServer, log: AnswerLog) -> None:
    answers = ask(server, log)
    assert sorted(answer.asked for answer in answers) == sorted(QUESTIONS)
    assert ask(server, log) == []
    assert len(server.questions) == len(QUESTIONS)


def test_so_many_questions_are_under_way_at_once(server: ChatServer, log: AnswerLog) -> None:
    gathered = threading.Barrier(3)  # opens when three requests are here together
    server.behavior.after_request = lambda _: gathered.wait(timeout=30) and None
    ask(server, log, concurrency=3)
    assert server.most_at_once == 3


def test_overload_and_server_errors_are_tried_again(server: ChatServer, log: AnswerLog) -> None:
    server.behavior.statuses = [429, 500, 503, 429]
    assert len(ask(server, log, QUESTIONS[:3], concurrency=1)) == 3
    assert len(server.questions) == 3 + 4


def test_a_server_that_stays_overloaded_ends_the_run_with_what_there_is(server: ChatServer, log: AnswerLog) -> None:
    ask(server, log, QUESTIONS[:2], concurrency=1)
    server.behavior.always = 429
    with pytest.raises(EndpointError, match=r"still asks for a pause \(429\).*it goes on"):
        ask(server, log, concurrency=1, max_retries=1)
    assert len(log) == 2


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(
    server: ChatServer, log: AnswerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behavior.key = GOOD_KEY
    monkeypatch.setenv("OPENAI_API_KEY", "sk-WrongKeyOfTheTests99")
    with pytest.raises(EndpointError, match="put the right one into OPENAI_API_KEY") as refused:
        ask(server, log)
    assert "sk-" not in str(refused.value)
    monkeypatch.setenv("OPENAI_API_KEY", GOOD_KEY)
    assert len(ask(server, log)) == len(QUESTIONS)


def test_an_unknown_model_is_an_error(server: ChatServer, log: AnswerLog) -> None:
    server.behavior.always = 404
    with pytest.raises(EndpointError, match="knows no model 'tiny'"):
        ask(server, log)


def test_a_filtered_question_is_kept_as_a_refusal(server: ChatServer, log: AnswerLog) -> None:
    server.behavior.statuses, server.behavior.error_code = [400], "content_filter"
    answers = ask(server, log, QUESTIONS[:2], concurrency=1)
    assert [answer.refusal for answer in answers] == ["content_filter", ""]


def test_an_answer_at_the_limit_is_known_as_cut(server: ChatServer, log: AnswerLog) -> None:
    server.behavior.finish_reason = "length"
    assert ask(server, log, QUESTIONS[:1])[0].is_cut


@pytest.mark.parametrize("raw", [b"<html>hello</html>", b"{}", b'{"choices": []}'])
def test_a_server_of_another_kind_is_recognised(server: ChatServer, log: AnswerLog, raw: bytes) -> None:
    server.behavior.raw = raw
    with pytest.raises(EndpointError, match="does not answer like an OpenAI endpoint"):
        ask(server, log, QUESTIONS[:1])


def test_no_server_is_an_error_without_the_address_secrets(log: AnswerLog) -> None:
    url = "http://user:hunter2hunter2@127.0.0.1:9/v1?key=abc"
    answerer = EndpointAnswers(endpoint=Endpoint(url=url, model="tiny", max_retries=0))
    with pytest.raises(EndpointError, match=r"no connection to http://127\.0\.0\.1:9/v1") as failed:
        list(answerer.answer(QUESTIONS[:1], log))
    assert "hunter2" not in str(failed.value)
    assert "abc" not in str(failed.value)
    assert "hunter2" not in answerer.name + repr(answerer)


def test_without_the_client_it_says_what_to_install(
    server: ChatServer, log: AnswerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EndpointError, match=r'pip install "flas-tui\[judge\]"'):
        ask(server, log)
