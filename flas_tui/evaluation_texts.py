"""The texts behind a cell of the evaluation browser, each beside another way's for the same prompt and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.evaluation.results import BASELINE, PROMPTING, STEERING
from flas_tui.evaluation_table import MEASURE_TITLES, value_of

if TYPE_CHECKING:
    from flas_engine.evaluation.results import Method
    from flas_engine.evaluation.scores import Column, Concept, EvaluatedSet, EvaluatedText, Scores

BESIDE: tuple[Method, Method] = (BASELINE, PROMPTING)
"""What a steered text can stand beside, the usual one first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPair:
    """A text, and what it stands beside if there is anything."""

    text: EvaluatedText
    beside: EvaluatedText | None


def find_beside(evaluated: EvaluatedSet, column: Column, wanted: Method) -> Column | None:
    """Return the column that texts of `column` stand beside: the wanted method, or the other where it is the same."""
    found = {each.method: each for each in evaluated.columns if each.method != STEERING and each != column}
    return found.get(wanted, next(iter(found.values()), None))


def find_pairs(evaluated: EvaluatedSet, concept: Concept, column: Column, beside: Column | None) -> list[TextPair]:
    """Return the texts of a cell by prompt and seed."""
    cell = evaluated.cells.get((concept, column))
    other = evaluated.cells.get((concept, beside)) if beside is not None else None
    others = {_asked(text): text for text in other.texts} if other is not None else {}
    return [TextPair(text=text, beside=others.get(_asked(text))) for text in (cell.texts if cell is not None else ())]


def _asked(text: EvaluatedText) -> tuple[int, str, int]:
    return (*text.prompt, text.generation.seed)


def describe_scores(scores: Scores) -> str:
    """Return the four measures in a line."""
    return "  ".join(f"{title} {write_score(value_of(scores, name))}" for name, title in MEASURE_TITLES.items())


def write_score(value: float | None) -> str:
    """Return a score as short as it can be: 2, 1.5, 0.67."""
    return "·" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")
