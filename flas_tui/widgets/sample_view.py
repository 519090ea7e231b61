"""One of the texts that the flow wrote during training, beside what the model wrote without it.

The texts are a model's: shown as they are, with nothing in them left for the terminal to act on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from flas_tui.safe_text import visible_line, visible_text

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from flas_engine.training.metrics import Sample


class SampleView(VerticalScroll):
    """Shows one sample of those given by `show`; `turn` goes to another."""

    BINDINGS: ClassVar[list[BindingType]] = [("j", "scroll_down", "down"), ("k", "scroll_up", "up")]
    KEYS_HELP: ClassVar[tuple[tuple[str, str], ...]] = (("j k ↑ ↓", "scroll"),)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._samples: list[Sample] = []
        self._index = 0
        self._prompt = Static("", classes="prompt", markup=False)
        self._baseline = Static("", classes="text", id="sample-baseline", markup=False)
        self._steered = Static("", classes="text", id="sample-steered", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out the prompt over both texts."""
        yield self._prompt
        with Horizontal(classes="pair"):
            yield self._baseline
            yield self._steered

    def show(self, samples: list[Sample]) -> None:
        """Take these samples; the one that shows keeps its place among them."""
        if samples != self._samples:
            self._samples = samples
            self._index = min(self._index, max(0, len(samples) - 1))
            self._draw()

    def turn(self, by: int) -> None:
        """Show the next sample but `by`."""
        if self._samples:
            self._index = (self._index + by) % len(self._samples)
            self._draw()
            self.scroll_home(animate=False)

    def on_mount(self) -> None:
        """Say that there is nothing yet."""
        self._draw()

    def _draw(self) -> None:
        if not self._samples:
            self.border_title = Content("samples")
            self.border_subtitle = Content("")
            self._prompt.update(Content("no samples yet; they come with validations"))
            return
        sample = self._samples[self._index]
        self.border_title = Content(f"{visible_line(sample.concept)} · T {sample.flow_time:g}")
        self.border_subtitle = Content(f"sample {self._index + 1} of {len(self._samples)}, update {sample.update:,}")
        self._prompt.update(Content(f"> {visible_line(sample.prompt)}"))
        self._baseline.update(Content(visible_text(sample.baseline).strip()))
        self._steered.update(Content(visible_text(sample.text).strip()))
