"""The texts of one cell: its prompts in a list, and the chosen one's text beside that of the baseline or of prompting.

It shows what it is given and says which prompt is chosen and where the user wants to walk; the cell is the screen's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from flas_tui.evaluation_table import MEASURE_TITLES, value_of
from flas_tui.evaluation_texts import write_score
from flas_tui.safe_text import visible_line, visible_text
from flas_tui.widgets.history_panel import RailList
from flas_tui.widgets.text_card import TextCard

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from flas_engine.evaluation.scores import EvaluatedText
    from flas_tui.evaluation_texts import TextPair

NOTHING_HERE = "no text was written here (yet)"
NOTHING_BESIDE = "no text of the same prompt and seed was written without steering (yet)"


class CellTexts(Vertical):
    """`show` a cell; up and down go through its prompts, left and right ask for the next cell."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "walk(-1)", "the flow time before", show=False),
        Binding("right,l", "walk(1)", "the next flow time", show=False),
    ]
    KEYS_HELP: ClassVar[tuple[tuple[str, str], ...]] = (
        ("↑ ↓", "the prompts of the cell; in a text they scroll"),
        ("← →", "the same prompt under other flow times"),
        ("Tab", "from the prompts to the texts and back"),
    )

    class Walked(Message):
        """The user wants the cell beside this one."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._pairs: list[TextPair] = []
        self._titles = ("", "")
        self._shown: TextPair | None = None
        self._concept = Static("", id="texts-concept", markup=False)
        self._scores = Static("", id="texts-scores", markup=False)
        self._list = RailList(id="texts-prompts", markup=False)
        self._prompt = Static("", id="texts-prompt", markup=False)
        self._cards = (TextCard(id="text-beside"), TextCard(id="text-steered"))

    def compose(self) -> ComposeResult:
        """Concept and its scores, prompts, the chosen prompt in full, and two texts beside each other."""
        yield self._concept
        yield self._scores
        yield self._list
        yield self._prompt
        with Horizontal(id="text-cards"):
            yield from self._cards

    @property
    def chosen(self) -> EvaluatedText | None:
        """The text that is looked at."""
        index = self._list.highlighted
        return self._pairs[index].text if index is not None and index < len(self._pairs) else None

    def show(
        self, pairs: list[TextPair], *, concept: str, scores: list[str], measure: str, titles: tuple[str, str]
    ) -> None:
        """Show a cell of a concept with these scores by column; the prompt stays where it can.

        `titles` are those of the texts beside and of the cell's own.
        """
        asked = None if self.chosen is None else _asked(self.chosen)
        before = self._list.highlighted or 0
        self._pairs, self._titles = pairs, titles
        self._concept.update(Content(visible_line(concept)))
        self._scores.update(Content("  ".join(scores)))
        self._list.border_title = Content(f"prompts, {MEASURE_TITLES[measure]}")
        has_seeds = len({pair.text.generation.seed for pair in pairs}) > 1
        self._list.set_options([Option(_describe(pair.text, measure, has_seeds=has_seeds)) for pair in pairs])
        places = [_asked(pair.text) for pair in pairs]
        if pairs:
            self._list.highlighted = places.index(asked) if asked in places else min(before, len(pairs) - 1)
        self._show_pair()

    def focus_prompts(self) -> None:
        """Give the focus to the prompts."""
        self._list.focus()

    def action_walk(self, by: int) -> None:
        """Ask for the cell beside this one."""
        self.post_message(self.Walked(by))

    @on(OptionList.OptionHighlighted)
    def _choose(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self._show_pair()

    @on(OptionList.OptionSelected)
    def _read(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._cards[1].focus()

    def _show_pair(self) -> None:
        index = self._list.highlighted
        pair = self._pairs[index] if index is not None and index < len(self._pairs) else None
        if pair is not None and pair == self._shown and self._cards[1].border_title == self._titles[1]:
            return  # what is being read stays where it is scrolled to
        self._shown = pair
        self._prompt.update(Content("> " + visible_text(pair.text.generation.input).strip() if pair else ""))
        beside, steered = self._cards
        beside.show(self._titles[0], pair.beside if pair else None, otherwise=NOTHING_BESIDE if pair else "")
        steered.show(self._titles[1], pair.text if pair else None, otherwise=NOTHING_HERE)


def _asked(text: EvaluatedText) -> tuple[str, int]:
    """Return what a text has in common with those of other cells, of other concepts too."""
    return text.generation.input, text.generation.seed


def _describe(text: EvaluatedText, measure: str, *, has_seeds: bool) -> Content:
    score = write_score(value_of(text.scores, measure))
    seed = f"seed {text.generation.seed}  " if has_seeds else ""
    return Content.assemble((f"{score:>4}  ", "bold"), seed, visible_line(text.generation.input))
