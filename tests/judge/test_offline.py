"""The offline judge on what can be worked out by hand, and on a tiny model: what it measures, keeps and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
import torch
from judge.small_evaluation import generation, write_generations
from tiny_run import write_base

from flas_engine.engine import Engine, load_engine
from flas_engine.errors import EvaluationError
from flas_engine.evaluation.results import (
    ASPECTS,
    Judgement,
    judgements_path,
    read_judgements,
    read_judges,
    write_json,
)
from flas_engine.judge.calibration import (
    Calibration,
    Scale,
    calibrate,
    calibration_of,
    scramble,
    version_in_use,
)
from flas_engine.judge.calibration_texts import read_calibration_texts
from flas_engine.judge.evidence import (
    Comparison,
    Evidence,
    ScoredText,
    compare,
    likelihood,
    name_concept,
    score_text,
    weigh,
)
from flas_engine.judge.offline import judge_offline, offline_info
from flas_engine.record_log import RecordLog
from flas_tui.cli import main

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flas_engine.evaluation.results import Generation

COMPARISON = Comparison(prompt="x", concept="c", other_concepts=("d", "e"), other_prompts=("y",))
SCALES = Calibration(
    version=version_in_use(),
    model="tests/tiny",
    dtype="float32",
    concept=Scale(zero=0.0, two=0.4),
    instruction=Scale(zero=0.0, two=1.0),
    likelihood=Scale(zero=-8.0, two=-4.0),
)
TEXTS = ("a bird in the hand", "", "rain falls on the town, " * 40, "two birds", "quiet rain", " \n", "nobody minds")
KILLED_PROGRAM = """
import os, signal, sys
from flas_tui.cli import main
from flas_tui.commands import judge_run

class Killer(judge_run.WorkNarrator):
    def __call__(self, progress):
        if progress.done == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

judge_run.WorkNarrator = Killer
main(sys.argv[2:])
"""
"""`flas-tui`, which kills itself when it has judged so many texts."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random model with a token a byte and room for 512."""
    return write_base(tmp_path_factory.mktemp("judge") / "base")


@pytest.fixture(scope="module")
def engine(base: Path) -> Engine:
    return load_engine(base, device="cpu", dtype="float32")


def judge(engine: Engine, folder: Path, generations: Sequence[Generation]) -> list[Judgement]:
    """Judge into `folder` and return what its log then holds."""
    info = offline_info(engine.info)
    with RecordLog(judgements_path(folder, info.slug), Judgement, EvaluationError) as log:
        judge_offline(engine, generations, info, SCALES, log)
        return list(log)


# What can be worked out by hand


def scored(token_ids: Sequence[int], **under: Sequence[float]) -> ScoredText:
    """A text with these log-probabilities under the prompt x, another y, and x with the concepts c, d and e."""
    asked = {"x": "x", "y": "y"} | {concept: name_concept("x", concept) for concept in "cde"}
    return ScoredText(token_ids=tuple(token_ids), logprobs={asked[key]: tuple(each) for key, each in under.items()})


def test_evidence_equals_what_is_worked_out_by_hand() -> None:
    text = scored((1, 2), x=(-2.0, -4.0), y=(-5.0, -6.0), c=(-1.0, -2.0), d=(-2.0, -2.0), e=(-3.0, -4.0))
    evidence = weigh(text, COMPARISON)
    assert evidence.concept == pytest.approx(-1.5 - (-2.0 - 3.5) / 2)
    assert evidence.instruction == pytest.approx(-3.0 + 5.5)
    assert evidence.likelihood == pytest.approx(-1.5)  # under the prompt that names the concept
    assert evidence.variety == 1.0


def test_tokens_that_repeat_the_text_count_neither_as_new_nor_as_likely() -> None:
    ids = (7, 8, 9, 7, 8, 9, 7, 8, 9, 5)  # with runs of four, the seventh token is the first to end an old one
    text = scored(ids, x=(-3.0,) * 6 + (0.0,) * 3 + (-3.0,))
    assert likelihood(text, "x") == -3.0
    nothing_old = scored((7, 8, 9, 7, 8, 9), x=(-3.0,) * 6)
    assert likelihood(nothing_old, "x") == -3.0
    under = dict.fromkeys("xycde", (-3.0,) * 10)
    assert weigh(scored(ids, **under), COMPARISON).variety == pytest.approx(0.7)


def test_a_scale_is_straight_between_its_ends_and_flat_outside() -> None:
    scale = Scale(zero=-1.0, two=3.0)
    measures = (-5.0, -1.0, 0.0, 1.0, 3.0, 9.0)
    assert [scale.rate(measure) for measure in measures] == [0.0, 0.0, 0.5, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(("variety", "rating"), [(1.0, 2.0), (0.9, 2.0), (0.7, 1.0), (0.5, 0.0), (0.1, 0.0)])
def test_a_loop_of_words_is_not_fluent_however_likely_it_is(variety: float, rating: float) -> None:
    evidence = Evidence(concept=0.1, instruction=2.0, likelihood=-0.1, variety=variety)
    assert SCALES.rate(evidence) == pytest.approx({"concept": 0.5, "instruction": 2.0, "fluency": rating})


def test_a_text_is_held_against_concepts_and_prompts_that_are_not_its_own() -> None:
    for item in read_calibration_texts().items:
        comparison = compare(item.prompt, item.concept)
        assert item.concept not in comparison.other_concepts
        assert item.prompt not in comparison.other_prompts
        assert comparison == compare(item.prompt, item.concept)
    about_cats = [compare(f"Question {number}?", "a text about Cats").other_concepts for number in range(50)]
    assert len({each for drawn in about_cats for each in drawn}) > 5
    assert not any("cats" in each for drawn in about_cats for each in drawn)


def test_a_scrambled_text_has_the_same_words_in_another_order() -> None:
    for item in read_calibration_texts().items:
        assert sorted(scramble(item.plain).split()) == sorted(item.plain.split())
        assert scramble(item.plain) != item.plain


# What is kept


def test_every_text_is_judged_or_counted_as_failed_with_its_reason(engine: Engine, tmp_path: Path) -> None:
    made = [generation(number, text) for number, text in enumerate(TEXTS)]
    kept = judge(engine, tmp_path, made)
    assert len(kept) == len(TEXTS) * len(ASPECTS)
    reasons = {each.generation: each.failure for each in kept}
    too_long = "too long for the model that judges"
    assert list(reasons.values()) == ["", "no text", too_long, "", "", "no text", ""]
    assert all((each.rating is None) == bool(each.failure) for each in kept)
    assert all(0.0 <= each.rating <= 2.0 for each in kept if each.rating is not None)
    assert all("nats a token" in each.comment for each in kept if not each.failure)


def test_a_text_is_judged_alike_alone_and_among_others(engine: Engine, tmp_path: Path) -> None:
    made = [generation(number, text) for number, text in enumerate(TEXTS)]
    together = judge(engine, tmp_path / "together", made)
    alone = [each for one in reversed(made) for each in judge(engine, tmp_path / one.key, [one])]
    assert sorted(alone, key=lambda each: each.key) == sorted(together, key=lambda each: each.key)


def test_nothing_is_judged_twice(engine: Engine, tmp_path: Path) -> None:
    made = [generation(number, text) for number, text in enumerate(TEXTS)]
    judge(engine, tmp_path, made[:3])
    path = judgements_path(tmp_path, offline_info(engine.info).slug)
    before = path.read_bytes()
    judge(engine, tmp_path, made)
    assert path.read_bytes().startswith(before)
    keys = [json.loads(line)["key"] for line in path.read_text().splitlines()]
    assert len(set(keys)) == len(keys) == len(TEXTS) * len(ASPECTS)


def test_scores_are_those_of_the_engine_one_prompt_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = compare("What is rain?", "the sea").asked
    together = score_text(engine, "quiet rain", asked)
    monkeypatch.setattr("flas_engine.judge.evidence.TOKENS_AT_ONCE", 1)
    by_one = score_text(engine, "quiet rain", asked)
    assert together.token_ids == by_one.token_ids
    for prompt in asked:
        assert by_one.logprobs[prompt] == pytest.approx(together.logprobs[prompt], abs=1e-4)  # float32 rounding


# Calibration


def test_a_calibration_is_measured_once_and_kept_beside_the_judgements(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Engine] = []

    def measure(engine: Engine, _: object) -> Calibration:
        measured.append(engine)
        return replace(SCALES, model=engine.info.base_id)

    monkeypatch.setattr("flas_engine.judge.calibration.calibrate", measure)
    first = calibration_of(tmp_path, "judge", engine)
    assert calibration_of(tmp_path, "judge", engine) == first
    assert len(measured) == 1


def test_another_models_calibration_is_refused_by_name(engine: Engine, tmp_path: Path) -> None:
    write_json(tmp_path / "calibrations" / "judge.json", asdict(SCALES))
    with pytest.raises(EvaluationError, match=r"of tests/tiny in float32, not .*same --model and --dtype"):
        calibration_of(tmp_path, "judge", engine)
    (tmp_path / "calibrations" / "judge.json").write_text('{"version": "1.1"}')
    with pytest.raises(EvaluationError, match="damaged"):
        calibration_of(tmp_path, "judge", engine)


def test_a_model_that_cannot_tell_texts_apart_does_not_judge(base: Path) -> None:
    blind = load_engine(base, device="cpu", dtype="float32")
    nothing = replace(blind.base.final_norm, weight=torch.zeros_like(blind.base.final_norm.weight))
    blind.base = replace(blind.base, final_norm=nothing)
    with pytest.raises(EvaluationError, match=r"puts 0 of 4 pairs .* by concept, .* choose another --model"):
        calibrate(blind, items=read_calibration_texts().items[:2])


# The command


def test_a_killed_run_of_the_command_goes_on_and_ends_like_one_that_was_not(
    base: Path, engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    slug = offline_info(engine.info).slug
    folders = [tmp_path / "killed", tmp_path / "undisturbed"]
    for folder in folders:
        write_generations(folder, TEXTS)
        scales = replace(SCALES, model=engine.info.base_id)  # a random model would measure none
        write_json(folder / "calibrations" / f"{slug}.json", asdict(scales))
    options = ("--offline", "--model", str(base), "--dtype", "float32", "--device", "cpu")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_PROGRAM, "4", "judge", str(folders[0]), *options],
        env=os.environ,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(read_judgements(folders[0])) == 4 * len(ASPECTS)
    for folder in folders:
        with pytest.raises(SystemExit) as ended:
            main(["judge", str(folder), *options, "--json"])
        assert ended.value.code in (None, 0)
    lines = [judgements_path(folder, slug).read_text().splitlines() for folder in folders]
    assert sorted(lines[0]) == sorted(lines[1])
    summary = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (summary["num_rated"], summary["num_failed"], summary["num_open"]) == (12, 9, 0)
    (info,) = read_judges(folders[0])
    assert (info.kind, info.calibration) == ("offline", version_in_use())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dry-run",), "--offline asks none"),
        (("--base-url", "http://127.0.0.1:9/v1"), "--base-url is for judges that are asked"),
        ((), "plan.json is missing"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path,
    options: tuple[str, ...],
    message: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_generations(tmp_path, TEXTS)
    with pytest.raises(SystemExit) as ended:
        main(["judge", str(tmp_path), "--offline", *options])
    assert ended.value.code == 1
    assert message in capfd.readouterr().err
