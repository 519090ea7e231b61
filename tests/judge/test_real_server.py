"""A real model behind a real OpenAI-compatible server, transformers' own, as the judge."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from judge.small_evaluation import write_generations

from flas_engine.endpoint import Endpoint
from flas_engine.judge.judgement_log import JudgementLog
from flas_engine.judge.judging import EndpointJudge, endpoint_info, judge_questions, open_questions
from flas_engine.judge.rubric import find_rubric

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVE = "from transformers.cli.transformers import main; main()"
READY = "running on http"
"""In the line by which the server says that it takes questions."""
TIMEOUT_SECONDS = 300


@pytest.fixture
def served(demo_model_dir: Path) -> Iterator[str]:
    """The address of `transformers serve` with SmolLM2."""
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        pytest.skip("transformers serves with fastapi and uvicorn: pip install 'transformers[serving]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", str(demo_model_dir), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    ) as server:
        try:
            assert server.stdout is not None
            said = ""
            while READY not in said:
                line = server.stdout.readline()
                assert line, f"the server ended:\n{said}"
                said += line
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def test_every_answer_of_a_real_model_is_rated_or_counted_as_failed(
    served: str, demo_model_dir: Path, tmp_path: Path
) -> None:
    generations = write_generations(tmp_path, ["Ahoy! Hoist the mainsail, trim the jib, and tack to port."])
    rubric, model = find_rubric("flas"), str(demo_model_dir)
    judge = EndpointJudge(
        info=endpoint_info(model, rubric, "smollm2"),
        endpoint=Endpoint(url=served, model=model, timeout_seconds=TIMEOUT_SECONDS),
        rubric=rubric,
        concurrency=1,
        max_tokens=24,
        num_tries=1,
    )
    with JudgementLog(tmp_path, judge.info) as log:
        assert judge_questions(open_questions(generations, "smollm2", log), judge, log) == 0
        judgements = list(log)
    assert len(judgements) == 3
    assert all((judgement.rating is None) == bool(judgement.failure) for judgement in judgements)
    assert all(judgement.comment and judgement.prompt_tokens > 100 for judgement in judgements)
    assert all(0 < judgement.completion_tokens <= 24 for judgement in judgements)
