"""Rubrics: ours, a file of the user's, and AxBench's own templates out of their Python file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from judge.small_evaluation import generation

from flas_engine.data.published import JUDGE_TEMPLATES
from flas_engine.errors import DataError, EvaluationError
from flas_engine.evaluation.results import ASPECTS
from flas_engine.judge.rubric import RUBRICS_DIR, find_rubric, read_rubric

if TYPE_CHECKING:
    from pathlib import Path

OURS = (RUBRICS_DIR / "flas.toml").read_text(encoding="utf-8")
TEMPLATE = '''NAME = """[System]
Judge the %s \\
on a scale from 0 to 2. "Rating: [[score]]".
%s
[Fragment]
{sentence}
"""
'''


def templates(**changes: str) -> str:
    kinds = {
        "CONCEPT_RELEVANCE": ("concept", "{concept}"),
        "INSTRUCTION_RELEVANCE": ("instruction", "{instruction}"),
        "FLUENCY": ("fluency", ""),
    }
    texts = {kind: TEMPLATE % words for kind, words in kinds.items()} | changes
    named = {kind: f"UNIDIRECTIONAL_PAIRWISE_EVALUATION_{kind}_TEMPLATE" for kind in kinds}
    return "import os\n\n" + "\n\n".join(text.replace("NAME", named[kind], 1) for kind, text in texts.items())


@pytest.fixture
def axbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a download puts the templates."""
    monkeypatch.setenv("FLAS_CACHE_DIR", str(tmp_path))
    path = tmp_path / "data" / "axbench-templates" / JUDGE_TEMPLATES
    path.parent.mkdir(parents=True)
    path.write_text(templates(), encoding="utf-8")
    return path


def test_each_question_holds_what_it_is_about_and_nothing_else() -> None:
    rubric, judged = find_rubric("flas"), generation(3, "Hoist the sails!")
    asked = {aspect: rubric.ask(aspect, judged) for aspect in ASPECTS}
    assert all("Hoist the sails!" in question for question in asked.values())
    assert [aspect for aspect in ASPECTS if judged.concept in asked[aspect]] == ["concept"]
    assert [aspect for aspect in ASPECTS if judged.input in asked[aspect]] == ["instruction"]


def test_places_in_the_text_itself_are_left_alone() -> None:
    question = find_rubric("flas").ask("concept", generation(0, "a {concept} and an {instruction} in {braces} {"))
    assert "a {concept} and an {instruction} in {braces} {" in question


def test_another_wording_is_another_rubric(tmp_path: Path) -> None:
    changed = tmp_path / "mine.toml"
    changed.write_text(OURS.replace("garbled", "mangled"), encoding="utf-8")
    same = tmp_path / "same.toml"
    same.write_text("# a comment\n" + OURS, encoding="utf-8")
    assert read_rubric(changed).hash != find_rubric("flas").hash == find_rubric(str(same)).hash


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "flas"', "", "has no name"),
        ('version = "1"', "version = 1", "has no version"),
        ("fluency = '''", "fluent = '''", "needs a table \\[aspects\\] with concept, instruction, fluency"),
        ("{concept}", "the concept", "about concept has no place for the {concept}"),
        ("{text}", "it", "about concept has no place for the {text}"),
        ("Rating: [[n]]", "Grade: n", "must ask for a last line"),
        ("[aspects]", "[aspects", "is no TOML file"),
    ],
)
def test_a_file_that_is_no_rubric_says_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    head, aspects, questions = OURS.partition("[aspects]")
    changed = head.replace(old, new) + aspects.replace(old, new) + questions.replace(old, new, 1)
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(EvaluationError, match=message):
        read_rubric(path)


def test_an_unknown_rubric_lists_those_that_there_are() -> None:
    with pytest.raises(EvaluationError, match="no rubric 'nonsense'; choose flas, axbench or"):
        find_rubric("nonsense")


@pytest.mark.usefixtures("axbench")
def test_axbench_templates_become_a_rubric() -> None:
    rubric = find_rubric("axbench")
    asked = rubric.ask("concept", generation(1, "Ahoy {concept}"))
    assert asked == (
        '[System]\nJudge the concept on a scale from 0 to 2. "Rating: [[score]]".\n'
        "terms of sailing 1\n[Fragment]\nAhoy {concept}\n"
    )
    assert rubric.hash != find_rubric("flas").hash


def test_templates_of_the_whole_download_do_as_well(axbench: Path) -> None:
    whole = axbench.parents[2] / "axbench" / JUDGE_TEMPLATES
    whole.parent.mkdir(parents=True)
    axbench.rename(whole)
    assert find_rubric("axbench").name == "axbench"


def test_without_the_download_it_names_the_command(axbench: Path) -> None:
    axbench.unlink()
    with pytest.raises(DataError, match="flas-tui data download axbench-templates"):
        find_rubric("axbench")


@pytest.mark.parametrize(
    "content",
    [
        templates(FLUENCY="NAME = 1"),
        templates(FLUENCY=(TEMPLATE % ("fluency", "")).replace("0 to 2", "1 to 10")),
        "",
    ],
)
def test_templates_of_another_form_are_refused(axbench: Path, content: str) -> None:
    axbench.write_text(content, encoding="utf-8")
    with pytest.raises(EvaluationError, match="on the scale 0 to 2"):
        find_rubric("axbench")


def test_the_templates_file_is_read_and_never_run(axbench: Path) -> None:
    axbench.write_text("raise SystemExit\n" + templates(), encoding="utf-8")
    assert find_rubric("axbench").name == "axbench"
    axbench.write_text("this is no Python", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"SyntaxError.*data download axbench-templates --force"):
        find_rubric("axbench")
