"""What a judge is asked: a text for each aspect, from a TOML file or from AxBench's own templates.

A file has `name`, `version` and a table `aspects` with `concept`, `instruction` and `fluency`. Knows nothing of
servers.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.errors import DataError, EvaluationError
from flas_engine.evaluation.results import ASPECTS
from flas_engine.paths import user_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flas_engine.evaluation.results import Aspect, Generation

FLAS, AXBENCH = "flas", "axbench"
RUBRICS_DIR = Path(__file__).parent / "rubrics"
_PLACES: dict[Aspect, tuple[str, ...]] = {
    "concept": ("concept", "text"),
    "instruction": ("instruction", "text"),
    "fluency": ("text",),
}
_PLACE = re.compile(r"\{(concept|instruction|text)\}")
_MARK = "Rating: [["
"""What a judge must be told to end with, or its ratings cannot be found."""
_AXBENCH_NAMES: dict[Aspect, str] = {
    "concept": "UNIDIRECTIONAL_PAIRWISE_EVALUATION_CONCEPT_RELEVANCE_TEMPLATE",
    "instruction": "UNIDIRECTIONAL_PAIRWISE_EVALUATION_INSTRUCTION_RELEVANCE_TEMPLATE",
    "fluency": "UNIDIRECTIONAL_PAIRWISE_EVALUATION_FLUENCY_TEMPLATE",
}
_AXBENCH_SCALE = "0 to 2"
"""Early versions of the templates rated concept and instruction 0 or 1."""
_AXBENCH_FILES = "axbench-templates", "axbench"
"""The downloads that bring the templates."""
_HASH_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """The questions of a judge, with `{concept}`, `{instruction}` and `{text}` in the places of what is judged."""

    name: str
    version: str
    questions: Mapping[Aspect, str]

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the sha256 of name, version and questions."""
        content = json.dumps([self.name, self.version, *(self.questions[aspect] for aspect in ASPECTS)])
        return hashlib.sha256(content.encode()).hexdigest()[:_HASH_DIGITS]

    def ask(self, aspect: Aspect, generation: Generation) -> str:
        """Return the question about one aspect of a text; what is filled in is not searched for places again."""
        values = {"concept": generation.concept, "instruction": generation.input, "text": generation.text}
        return _PLACE.sub(lambda place: values[place[1]], self.questions[aspect])


def find_rubric(name: str) -> Rubric:
    """Return the rubric that `name` means: 'flas' (ours), 'axbench' (downloaded), or a TOML file.

    Raises `EvaluationError` for a file that is no rubric, `DataError` when AxBench's templates are not here.
    """
    if name == FLAS:
        return read_rubric(RUBRICS_DIR / f"{FLAS}.toml")
    if name == AXBENCH:
        return read_templates(_find_templates())
    path = user_path(name)
    if not path.exists():
        raise EvaluationError(f"there is no rubric {name!r}; choose {FLAS}, {AXBENCH} or the path of a TOML file")
    return read_rubric(path)


def read_rubric(path: Path) -> Rubric:
    """Read a rubric's file; raises `EvaluationError` that says what is missing in it."""
    try:
        fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # also what is no UTF-8
        raise EvaluationError(f"{path} is no TOML file: {error}") from None
    for key in ("name", "version"):
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            raise EvaluationError(f'{path} has no {key}; write {key} = "..." above [aspects]')
    questions = fields.get("aspects")
    if not isinstance(questions, dict) or set(questions) != set(ASPECTS):
        raise EvaluationError(f"{path} needs a table [aspects] with {', '.join(ASPECTS)} and nothing else")
    for aspect in ASPECTS:
        _check_question(path, aspect, questions[aspect])
    asked = {aspect: questions[aspect].strip() for aspect in ASPECTS}
    return Rubric(name=fields["name"].strip(), version=fields["version"].strip(), questions=asked)


def read_templates(path: Path) -> Rubric:
    """Take AxBench's three templates out of its Python file, without running it.

    Raises `EvaluationError` when they are not in it, or not on the scale from 0 to 2.
    """
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise EvaluationError(
            f"{path} cannot be read ({type(error).__name__}); run: flas-tui data download {_AXBENCH_FILES[0]} --force"
        ) from None
    texts = {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    questions = {aspect: _take(path, aspect, texts.get(name)) for aspect, name in _AXBENCH_NAMES.items()}
    return Rubric(name=AXBENCH, version="stanfordnlp/axbench", questions=questions)


def _take(path: Path, aspect: Aspect, template: object) -> str:
    if not isinstance(template, str) or _AXBENCH_SCALE not in template:
        raise EvaluationError(
            f"{path} has no template {_AXBENCH_NAMES[aspect]} on the scale {_AXBENCH_SCALE}; AxBench has changed it: "
            f"use --rubric {FLAS}, or write the templates into a TOML file"
        )
    question = template.replace("{sentence}", "{text}")
    _check_question(path, aspect, question)
    return question


def _check_question(path: Path, aspect: Aspect, question: object) -> None:
    if not isinstance(question, str):
        raise EvaluationError(f"{path}: the question about {aspect} is no text")
    for place in _PLACES[aspect]:
        if f"{{{place}}}" not in question:
            raise EvaluationError(f"{path}: the question about {aspect} has no place for the {{{place}}}; put it in")
    if _MARK not in question:
        raise EvaluationError(f'{path}: the question about {aspect} must ask for a last line "{_MARK}n]]"; put it in')


def _find_templates() -> Path:
    from flas_engine.data.published import JUDGE_TEMPLATES, folder_of

    for name in _AXBENCH_FILES:
        path = folder_of(name) / JUDGE_TEMPLATES
        if path.exists():
            return path
    raise DataError(f"AxBench's templates are not on this machine; run: flas-tui data download {_AXBENCH_FILES[0]}")
