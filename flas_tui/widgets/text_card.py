"""One text of an evaluation, its ratings and the judge's words; models wrote all of it, and it is shown as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from flas_engine.evaluation.results import ASPECTS
from flas_tui.evaluation_texts import describe_scores, write_score
from flas_tui.safe_text import visible_line, visible_text
from flas_tui.widgets.inspector import FINISH_WORDS

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from flas_engine.evaluation.results import Judgement
    from flas_engine.evaluation.scores import EvaluatedText


class TextCard(VerticalScroll, inherit_bindings=False):
    """Shows what `show` gives it, and scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("pagedown", "page_down", "a page down", show=False),
        Binding("pageup", "page_up", "a page up", show=False),
        Binding("g,home", "scroll_home", "top", show=False),
        Binding("G,end", "scroll_end", "end", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"card--rating", "card--comment"}

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._body = Static("", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out one scrolling sheet."""
        yield self._body

    def show(self, title: str, text: EvaluatedText | None, *, otherwise: str) -> None:
        """Show `text` under `title` from its beginning; without one, `otherwise`."""
        self.border_title = Content(title)
        self.border_subtitle = Content(
            describe_scores(text.scores) if text is not None and text.scores is not None else ""
        )
        self._body.update(self._draw(text) if text is not None else Text(otherwise, self._style("comment")))
        self.scroll_home(animate=False)

    def _draw(self, text: EvaluatedText) -> Text:
        written = text.generation
        drawn = Text(visible_text(written.text).strip() or "(nothing was written)")
        end = FINISH_WORDS.get(written.finish_reason, visible_line(written.finish_reason))  # type: ignore[call-overload]
        drawn.append(f"\n\n{written.num_tokens} tokens · {end}", self._style("comment"))
        if not text.judgements:
            drawn.append("\nnot judged yet", self._style("rating"))
        for aspect in ASPECTS:
            if (judgement := text.judgements.get(aspect)) is not None:
                drawn.append(f"\n{aspect} {write_score(judgement.rating)}", self._style("rating"))
                drawn.append(f"  {_explain(judgement)}", self._style("comment"))
        return drawn

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(f"card--{name}", partial=True))


def _explain(judgement: Judgement) -> str:
    """Return the judge's words, or why there is no rating and what was said in place of one."""
    words = visible_text(judgement.comment).strip()
    if judgement.rating is not None:
        return words
    failure = f"not rated: {visible_line(judgement.failure) or 'the judge gave no reason'}"
    return f"{failure}\n{words}" if words else failure
