"""The texts that the flow wrote during training, each beside what the model wrote without it.

The texts are a model's: shown as they are, with nothing in them left for the terminal to act on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from flas_tui.safe_text import visible_line, visible_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from flas_engine.training.metrics import Sample


class SampleView(VerticalScroll):
    """Lists the samples given by `show`; `turn` puts another one first."""

    BINDINGS: ClassVar[list[BindingType]] = [("j", "scroll_down", "down"), ("k", "scroll_up", "up")]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"sample--concept", "sample--prompt", "sample--baseline", "sample--steered"}
    KEYS_HELP: ClassVar[tuple[tuple[str, str], ...]] = (("j k ↑ ↓", "scroll"),)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._samples: list[Sample] = []
        self._first = 0
        self._body = Static("no samples yet; they come with validations", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out one scrolling sheet."""
        self.border_title = Content("samples")
        yield self._body

    def show(self, samples: list[Sample]) -> None:
        """Take these samples; the one at the top keeps its place among them."""
        if samples != self._samples:
            self._samples = samples
            self._first = min(self._first, max(0, len(samples) - 1))
            self.draw()

    def turn(self, by: int) -> None:
        """Put the next sample but `by` first."""
        if self._samples:
            self._first = (self._first + by) % len(self._samples)
            self.draw()
            self.scroll_home(animate=False)

    def draw(self) -> None:
        """Draw all samples in the colours of the theme, baseline to the left, steered to the right."""
        if not self._samples:
            return
        self.border_title = Content(f"samples after update {self._samples[0].update:,}: baseline │ steered")
        self.border_subtitle = Content(f"{self._first + 1} of {len(self._samples)}")
        turned = [*self._samples[self._first :], *self._samples[: self._first]]
        self._body.update(Group(*(part for sample in turned for part in self._draw_sample(sample))))

    def _draw_sample(self, sample: Sample) -> tuple[RenderableType, ...]:
        title = Text.assemble(
            (f"{visible_line(sample.concept)} · T {sample.flow_time:g}", self._style("concept")),
            (f"  > {visible_line(sample.prompt)}", self._style("prompt")),
        )
        texts = Table.grid(padding=(0, 2), expand=True)
        texts.add_column(ratio=1)
        texts.add_column(ratio=1)
        texts.add_row(
            Text(visible_text(sample.baseline).strip(), self._style("baseline")),
            Text(visible_text(sample.text).strip(), self._style("steered")),
        )
        return title, texts, Text("")

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(f"sample--{name}", partial=True))
