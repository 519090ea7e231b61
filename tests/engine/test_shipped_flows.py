"""The flows that come along do what is said of them: the texts of the demo's, and the concepts that both list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flas_engine import GREEDY, Lane, Limits, Message, Request, WeightedConcept
from flas_engine.engine import load_engine
from flas_engine.paths import assets_dir
from flas_engine.training.markers import find_marker

if TYPE_CHECKING:
    from flas_engine.engine import Engine

EXPECTED = Path(__file__).parent.parent / "golden" / "demo" / "expected.json"
FOLDERS = {"demo": "demo_model_dir", "demo-gemma": "demo_gemma_dir"}
"""The fixtures that convert their bases."""


@pytest.fixture(scope="module", params=FOLDERS)
def engine(request: pytest.FixtureRequest) -> Engine:
    folder = request.getfixturevalue(FOLDERS[request.param])
    return load_engine(folder, flow=str(assets_dir() / "flows" / request.param), device="cpu", dtype="float32")


def lane(prompt: str, flow_time: float, concept: str) -> Lane:
    concepts = (WeightedConcept(text=concept),) if flow_time else ()
    return Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=flow_time)


@pytest.mark.parametrize("engine", ["demo"], indirect=True)
def test_the_twelve_expected_texts_come_out(engine: Engine) -> None:
    rows = json.loads(EXPECTED.read_text())["rows"]
    lanes = tuple(lane(row["prompt"], row["flow_time"], row["concept"]) for row in rows)
    answers = engine.generate(Request(lanes=lanes, sampling=GREEDY, limits=Limits(max_new_tokens=32)))
    assert [answer.text for answer in answers] == [row["text"] for row in rows]


def test_the_concepts_of_the_library_show_in_their_prompts_at_their_flow_times(engine: Engine) -> None:
    """Greedily, and not on their prompts at T = 0; what is counted are marks, which plain texts bear too at times."""
    library = engine.info.library
    assert len(library) >= 24
    lanes = tuple(lane(each.prompt, time, each.concept) for each in library for time in (0.0, each.flow_time))
    limits = Limits(max_new_tokens=48)
    answers = engine.generate(Request(lanes=lanes, sampling=GREEDY, limits=limits, max_live=16))
    shown = []
    for number, each in enumerate(library):
        marker = find_marker(each.concept_id)
        assert marker is not None
        shown.append([marker(answer.text) for answer in answers[2 * number : 2 * number + 2]])
    rates = [sum(of_time) / len(library) for of_time in zip(*shown, strict=True)]
    assert rates[0] < 0.2
    assert rates[1] > 0.75
