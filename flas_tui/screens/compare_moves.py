"""Moving about the compare screen: fields, panes, rail and search, and how the panes are laid out.

Nothing here touches a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on

from flas_tui.screens.compare_view import RAIL_COLUMNS, CompareView
from flas_tui.session import BASELINE, STEERED
from flas_tui.widgets.controls import Controls
from flas_tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from flas_tui.widgets.history_panel import Tab


class CompareMoves(CompareView):
    """The compare screen as far as one looks around in it."""

    def action_focus_field(self, name: str) -> None:
        """Go to the prompt, the concept or the slider."""
        self._status.clear()
        self.set_focus(self.query_one(f"#{name}"))  # at once: what is typed next may be here already

    def action_leave(self) -> None:
        """Leave what has the focus for the panes."""
        self._status.clear()
        self._controls.end_typing()
        self.remove_class("-rail-open")
        self._deck.focus_lane(self._deck.front)

    def action_next(self) -> None:
        """Go to the next field; where only one pane shows, to the other pane first."""
        if self._deck.is_single and self._deck.panes[BASELINE].view.has_focus:
            self._deck.focus_lane(STEERED)
        elif self._deck.is_single and self.focused not in {pane.view for pane in self._deck.panes}:
            self.focus_next()
        elif self._deck.is_single:
            self._deck.flip()
        else:
            self.focus_next()

    def action_focus_lane(self, lane: int) -> None:
        """Go to a lane's pane."""
        self._deck.focus_lane(lane)

    def action_show_rail(self, tab: Tab) -> None:
        """Go to the concepts or the runs; where there is no room for them, they lie over the panes until left."""
        self._status.clear()
        if self.size.width < RAIL_COLUMNS:
            self.add_class("-rail-open")
        self._rail.focus_tab(tab)

    @on(LineInput.Browse)
    def _browse(self, event: LineInput.Browse) -> None:
        event.stop()
        self.action_show_rail("concepts")

    def action_search(self) -> None:
        """Find text in the panes; from the rail, a run."""
        if self.focused is not None and self._rail in self.focused.ancestors:
            self._rail.search()
        else:
            self._controls.type_search()

    def action_go_to_match(self, is_forward: bool) -> None:
        """Go to another match of the search."""
        self._deck.go_to_match(is_forward=is_forward)

    @on(Controls.Searching)
    def _search(self, event: Controls.Searching) -> None:
        event.stop()
        count = self._deck.search(event.term)
        if event.is_done:
            self._deck.focus_lane(self._deck.front)
            self._deck.go_to_match(is_forward=True)
        if event.term:
            self._status.note(f"{count} found" if count else f"{event.term} is in neither pane")
        else:
            self._status.clear()

    def action_zoom(self) -> None:
        """One pane alone, or both."""
        self._deck.toggle_zoom()
        self._deck.focus_lane(self._deck.front)

    def action_stack(self) -> None:
        """One above the other, or side by side."""
        self._deck.toggle_stack()

    def action_toggle_difference(self) -> None:
        """Mark where the panes part, or not."""
        is_marked = self._deck.toggle_difference()
        self._status.note("the first different token is marked" if is_marked else "differences are not marked")
