"""The whole chain as it is typed: texts are written, judged through a real server, and reported."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from data.chat_server import ChatServer
from tiny_evaluation import CONCEPTS, NUM_TEXTS, arguments

from flas_engine.evaluation.results import ASPECTS, read_generations, read_judgements, read_judges

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command_line import Run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A server whose judge likes a text the better the more capitals are in the question about it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FLAS_JUDGE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer() as running:
        running.behavior.answer = lambda question: f"So it is. Rating: [[{len(re.findall('[A-Z]', question)) % 3}]]"
        yield running


def test_texts_are_written_judged_once_and_reported(
    run: Run, tiny_model: Path, server: ChatServer, tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    written = run(*arguments(tiny_model, out, "--quiet"))
    assert (written.exit_code, written.out) == (0, f"{out}\n"), written.err

    judged = run("judge", str(out), "--base-url", server.url, "--model", "tiny-judge", "--quiet")
    assert judged.exit_code == 0, judged.err
    assert len(server.questions) == 3 * NUM_TEXTS
    again = run("judge", str(out), "--base-url", server.url, "--model", "tiny-judge", "--quiet")
    assert (again.exit_code, len(server.questions)) == (0, 3 * NUM_TEXTS), again.err

    (judge,) = read_judges(out)
    judgements = read_judgements(out, judge.slug)
    texts = {text.key for text in read_generations(out)}
    assert {(each.generation, each.aspect) for each in judgements} == {(key, a) for key in texts for a in ASPECTS}
    assert {each.rating for each in judgements} == {0, 1, 2}

    shown = run("report", str(out), "--out", str(tmp_path / "report"))
    assert shown.exit_code == 0, shown.err
    assert "tiny-judge" in shown.out
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert all(concept in json.dumps(report, ensure_ascii=False) for concept in CONCEPTS)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        f"report.{form}" for form in ("md", "html", "json", "csv")
    }
