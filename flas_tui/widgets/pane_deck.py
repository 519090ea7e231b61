"""The two panes of the comparison: which of them show, how they stand, how they scroll together, what is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Container

from flas_tui.session import BASELINE, LANES, STEERED, FlowTimeMoved, Parted, TextAppended
from flas_tui.widgets.lane_pane import LanePane
from flas_tui.widgets.token_view import TokenView

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from flas_tui.session import Change, Comparison

BASELINE_HINT = "The model's own answer appears here."
STEERED_HINT = "The same model's answer, steered by your concept, appears here beside it.\n\nPress Enter to begin."

WAITING_HINT = "The model is still loading. Your prompt is first in line."


class PaneDeck(Container):
    """Both panes, or one where there is no room or the user zoomed in."""

    def __init__(self, *, marks_difference: bool, id: str) -> None:
        super().__init__(id=id)
        self.panes = (
            LanePane(title="baseline", hint=BASELINE_HINT, id="baseline"),
            LanePane(title="steered", hint=STEERED_HINT, id="steered"),
        )
        self._front = STEERED
        self._is_zoomed = False
        self._is_narrow = False
        self._parted: Parted | None = None
        self._shows_difference = marks_difference

    def compose(self) -> ComposeResult:
        """Baseline to the left, steered to the right."""
        yield from self.panes

    @property
    def is_single(self) -> bool:
        """Whether only one pane shows."""
        return self._is_zoomed or self._is_narrow

    @property
    def front(self) -> int:
        """The lane whose pane has the focus, or else shows alone."""
        for lane in LANES:
            if self.panes[lane].view.has_focus:
                return lane
        return self._front

    def draw(self, change: Change) -> None:
        """Draw what changed in a lane's text."""
        if isinstance(change, TextAppended):
            self.panes[change.lane].append(change.text)
        elif isinstance(change, FlowTimeMoved):
            self.panes[change.lane].insert_marker(f"⟨T {change.flow_time:.2f}⟩")
        elif isinstance(change, Parted):
            self._parted = change
            self._mark_difference()

    def draw_whole(self, run: Comparison) -> None:
        """Draw a run from its beginning: texts, the places where T moved, and where the lanes part."""
        self.clear()
        for number, lane in enumerate(run.lanes):
            written = 0
            for move in lane.moves:
                self.panes[number].append(lane.text[written : move.offset])
                self.draw(move)
                written = move.offset
            self.panes[number].append(lane.text[written:])
        if run.parted is not None:
            self.draw(run.parted)

    def clear(self) -> None:
        """Empty both panes."""
        self._parted = None
        for pane in self.panes:
            pane.clear()
            pane.show_footer("")

    def say_waiting(self) -> None:
        """Say that a run waits for the model."""
        for pane in self.panes:
            pane.say_empty(WAITING_HINT)

    def focus_lane(self, lane: int) -> None:
        """Bring a lane's pane to the front and give it the focus."""
        self._front = lane
        self._arrange()
        self.panes[lane].view.focus()

    def flip(self) -> None:
        """Go to the other pane."""
        self.focus_lane(STEERED if self.front == BASELINE else BASELINE)

    def set_narrow(self, is_narrow: bool) -> None:
        """Say whether there is room for one pane only."""
        self._is_narrow = is_narrow
        self._arrange()

    def toggle_zoom(self) -> bool:
        """Show one pane alone, or both again; returns whether one is alone now."""
        self._front = self.front
        self._is_zoomed = not self._is_zoomed
        self._arrange()
        return self._is_zoomed

    def toggle_stack(self) -> None:
        """Put the panes one above the other, or side by side again."""
        self.toggle_class("-stacked")

    def toggle_difference(self) -> bool:
        """Show or hide the mark where the panes part; returns whether it shows now."""
        self._shows_difference = not self._shows_difference
        for pane in self.panes:
            pane.view.set_mark_visible(self._shows_difference)
        return self._shows_difference

    def search(self, term: str) -> int:
        """Highlight `term` in both panes; returns how often it is there."""
        return sum(pane.view.search(term) for pane in self.panes)

    def go_to_match(self, *, is_forward: bool) -> None:
        """Go to the next match in the front pane, or the one before; where it has none, in the other."""
        for lane in (self.front, BASELINE + STEERED - self.front):
            view = self.panes[lane].view
            if view.next_match() if is_forward else view.previous_match():
                return

    def _arrange(self) -> None:
        for lane, pane in zip(LANES, self.panes, strict=True):
            pane.display = not self.is_single or lane == self._front

    def _mark_difference(self) -> None:
        if self._parted is None:
            return
        for pane, offset in zip(self.panes, self._parted.offsets, strict=True):
            pane.view.mark_difference(offset)
            pane.view.set_mark_visible(self._shows_difference)

    @on(TokenView.Scrolled)
    def _scroll_in_lock_step(self, event: TokenView.Scrolled) -> None:
        event.stop()
        for pane in self.panes:
            if pane.view is not event.view:
                pane.view.scroll_in_step(event.row, is_at_end=event.is_at_end)
