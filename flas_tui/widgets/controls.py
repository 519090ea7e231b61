"""The three rows under the panes: concept, prompt and flow time, aligned and always ready to be typed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Label

from flas_tui.widgets.flow_time_slider import FlowTimeSlider
from flas_tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.widgets import Input


class Controls(Vertical):
    """Concept, prompt and T; posts `Submitted` on Enter, `FlowTimeTyped` for a typed T, `Searching` for a search.

    The last row is lent to a field for typing T, or for a search in the panes, as long as that has the focus.
    """

    class Submitted(Message):
        """Enter was pressed in the concept or the prompt."""

    class FlowTimeTyped(Message):
        """A flow time was typed; `text` may be anything."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Searching(Message):
        """Text to be found in the panes; `is_done` once Enter was pressed."""

        def __init__(self, term: str, *, is_done: bool) -> None:
            super().__init__()
            self.term = term
            self.is_done = is_done

    def __init__(self, *, concept: str, prompt: str, flow_time: float, slider_range: tuple[float, float]) -> None:
        super().__init__(id="controls")
        self._first = {"concept": concept, "prompt": prompt}
        self.concept = LineInput(placeholder="any concept in plain words: talk like a pirate", id="concept")
        self.prompt = LineInput(placeholder="what the model should answer", id="prompt")
        self.slider = FlowTimeSlider(flow_time, usual=slider_range, id="slider")
        self.typed = LineInput(placeholder="a flow time from -8 to 8, then Enter", id="typed-flow-time")
        self.search = LineInput(placeholder="find in both panes; Enter goes to it, n and N to the others", id="search")

    def compose(self) -> ComposeResult:
        """Label and field, row by row."""
        for name, field in (("concept", self.concept), ("prompt", self.prompt)):
            with Horizontal(classes="row"):
                field.value = self._first[name]  # not earlier: an input with a value asks for the screen it is on
                yield Label(name)
                yield field
        with Horizontal(classes="row"):
            yield Label("T", id="last-label")
            yield self.slider
            yield self.typed
            yield self.search

    def on_mount(self) -> None:
        """Show the slider, not the fields that borrow its row."""
        self.end_typing()

    def on_descendant_focus(self) -> None:
        """Light up the label of the row that has the focus."""
        self._light_up()

    def on_descendant_blur(self) -> None:
        """Put it out again."""
        self._light_up()

    def _light_up(self) -> None:
        focused = self.screen.focused
        for row in self.query(".row"):
            row.set_class(focused is not None and row in focused.ancestors, "-active")

    def show(self, *, concept: str, prompt: str, flow_time: float) -> None:
        """Put a setup into the fields."""
        self.concept.value, self.prompt.value, self.slider.value = concept, prompt, flow_time

    def type_flow_time(self) -> None:
        """Let T be typed in place of the slider."""
        self.typed.value = f"{self.slider.value:g}"
        self._lend_row(self.typed, "T")

    def type_search(self) -> None:
        """Let a search be typed in place of the slider."""
        self._lend_row(self.search, "find")

    def _lend_row(self, field: LineInput, label: str) -> None:
        self.slider.display = False
        field.display = True
        self.query_one("#last-label", Label).update(label)
        self.screen.set_focus(field)  # at once: what is typed next may be here already

    def end_typing(self) -> None:
        """Bring the slider back."""
        self.slider.display = True
        self.typed.display = self.search.display = False
        self.query_one("#last-label", Label).update("T")

    @on(LineInput.Submitted)
    def _submit(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input is self.search:
            self.post_message(self.Searching(event.value, is_done=True))
        else:
            self.post_message(self.FlowTimeTyped(event.value) if event.input is self.typed else self.Submitted())

    @on(LineInput.Changed, "#search")
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Searching(event.value, is_done=False))

    @on(LineInput.Blurred)
    def _leave(self, event: Input.Blurred) -> None:
        if event.input in {self.typed, self.search}:
            self.end_typing()
