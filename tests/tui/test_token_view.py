"""The streaming pane: follows, holds still, rewraps, marks, finds and copies; and shows hostile text safely."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_terminal import in_pty
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.selection import Selection

from flas_tui.safe_text import visible_text
from flas_tui.widgets.following_view import GROWTH_ROWS
from flas_tui.widgets.token_view import TokenView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from textual.pilot import Pilot

HOSTILE = [
    "\x1b[31mred",
    "\x1b]52;c;aGFja2Vk\x07",
    "\x9b2J",
    "\x90q\x9c",
    "a\rb\x08\x7f",
    "\u202eevil\u2069",
    "[/x] [bold]x[/bold] [@click=quit]",
    "\ud83d\udc4b",
    "漢字👋🏽 👨\u200d👩\u200d👧 ❤\ufe0f",
    "x" * 10_000,
    "\x00\x0e\x1b(0lqk",
    "\u2028\u2029\x85",
]


class ViewApp(App[None]):
    """One view, and what it tells."""

    CSS = "TokenView { color: white; background: black; }"

    def __init__(self) -> None:
        super().__init__()
        self.scrolls: list[tuple[int, bool]] = []

    def compose(self) -> ComposeResult:
        yield TokenView()

    def on_following_view_scrolled(self, event: TokenView.Scrolled) -> None:
        self.scrolls.append((event.row, event.is_at_end))


@asynccontextmanager
async def running(columns: int = 40, rows: int = 10) -> AsyncIterator[tuple[ViewApp, Pilot[None], TokenView]]:
    app = ViewApp()
    async with app.run_test(size=(columns, rows)) as pilot:
        view = app.query_one(TokenView)
        view.focus()
        await pilot.pause()
        yield app, pilot, view


def window(view: TokenView) -> list[str]:
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def last_rows(view: TokenView, count: int) -> list[str]:
    """The last rows of the window, but for those that following leaves empty."""
    shown = window(view)
    return shown[view.line_count - view.scroll_offset.y - count : view.line_count - view.scroll_offset.y]


def lines(count: int, first: int = 0) -> str:
    return "".join(f"line {number}\n" for number in range(first, first + count))


def styled(view: TokenView, name: str) -> str:
    """The text on the window that is drawn with a component's style."""
    wanted = view.get_component_rich_style(f"token-view--{name}", partial=True)
    segments = [segment for y in range(view.size.height) for segment in view.render_line(y)]
    return "".join(text for text, style, _ in segments if style is not None and style + wanted == style)


async def test_text_is_kept_as_it_came_and_shown_as_it_is() -> None:
    async with running() as (_, _, view):
        for piece in ["Ahoy", " there,", " sea", "\n", "[b]dog[/x]"]:
            view.append(piece)
        assert view.text == "Ahoy there, sea\n[b]dog[/x]"
        assert window(view)[:3] == ["Ahoy there, sea", "[b]dog[/x]", ""]
        assert view.line_count == 2


async def test_the_end_is_followed_as_text_arrives() -> None:
    async with running() as (app, pilot, view):
        for number in range(50):
            view.append(lines(1, number))
        await pilot.pause()
        assert last_rows(view, 2) == ["line 49", ""]
        assert app.scrolls == []


async def test_a_pane_scrolled_up_does_not_jump() -> None:
    async with running() as (app, pilot, view):
        view.append(lines(30))
        await pilot.pause()
        await pilot.press("k", "k", "k")
        before = window(view)
        view.append(lines(30, 30))
        await pilot.pause()
        assert window(view) == before
        assert not view.is_following
        assert app.scrolls == [(20, False), (19, False), (18, False)]


async def test_scrolling_back_to_the_end_follows_again() -> None:
    async with running() as (app, pilot, view):
        view.append(lines(30))
        await pilot.press("g")
        assert (window(view)[0], view.is_following) == ("line 0", False)
        await pilot.press("G")
        view.append(lines(30, 30))
        await pilot.pause()
        assert last_rows(view, 2) == ["line 59", ""]
        assert app.scrolls[-1] == (21, True)


async def test_a_page_is_the_window() -> None:
    async with running() as (_, pilot, view):
        view.append(lines(60))
        await pilot.press("g", "pagedown")
        assert window(view)[0] == "line 10"
        await pilot.press("pageup")
        assert window(view)[0] == "line 0"


async def test_the_wheel_scrolls() -> None:
    async with running() as (_, pilot, view):
        view.append(lines(60))
        await pilot.pause()
        end = view.scroll_offset.y
        await pilot._post_mouse_events([events.MouseScrollUp], view, (2, 2))
        await pilot.pause()
        assert view.scroll_offset.y < end


async def test_moving_in_step_tells_nobody_and_stops_at_the_end() -> None:
    async with running() as (app, pilot, view):
        view.append(lines(30))
        await pilot.pause()
        view.scroll_in_step(5, is_at_end=False)
        assert (window(view)[0], view.is_following) == ("line 5", False)
        view.scroll_in_step(500, is_at_end=False)
        assert last_rows(view, 2) == ["line 29", ""]
        view.scroll_in_step(3, is_at_end=True)
        assert (last_rows(view, 2), view.is_following) == (["line 29", ""], True)
        await pilot.pause()
        assert app.scrolls == []


async def test_resizing_wraps_anew_and_keeps_the_top_in_place() -> None:
    async with running(columns=41) as (_, pilot, view):
        view.append("".join(f"word{number:04} " for number in range(400)))
        await pilot.press("g", "pagedown", "pagedown")
        top = window(view)[0].split()[0]
        await pilot.resize_terminal(21, 10)
        await pilot.pause()
        assert top in window(view)[0]
        assert view.line_count == 200
        assert all(len(row) <= 20 for row in window(view))


async def test_resizing_a_pane_that_follows_keeps_the_end_in_sight() -> None:
    async with running() as (_, pilot, view):
        view.append(lines(50))
        for columns, rows in [(20, 6), (60, 20), (40, 3)]:
            await pilot.resize_terminal(columns, rows)
            await pilot.pause()
            assert last_rows(view, 2) == ["line 49", ""]
            assert view.is_following


async def test_the_height_grows_in_steps_once_the_window_is_full() -> None:
    async with running(rows=10) as (_, _, view):
        heights = []
        for number in range(40):
            view.append(lines(1, number))
            heights.append(view.virtual_size.height)
        assert heights[:8] == [10] * 8
        changes = [second - first for first, second in pairwise(heights) if second != first]
        assert changes == [GROWTH_ROWS] * 4


async def test_markers_are_drawn_in_the_flow_and_are_no_text() -> None:
    async with running() as (_, _, view):
        view.append("Ahoy there")
        view.insert_marker("⟨T 1.25⟩")
        view.append(" matey")
        assert window(view)[0] == "Ahoy there⟨T\u00a01.25⟩ matey"
        assert view.text == "Ahoy there matey"
        assert styled(view, "marker") == "⟨T\u00a01.25⟩"


async def test_the_difference_is_the_word_at_its_offset_and_can_be_hidden() -> None:
    async with running() as (_, _, view):
        view.append("The sea")
        view.insert_marker("⟨T 2⟩")
        view.append(" is the home of us all")
        view.mark_difference(10)
        assert styled(view, "difference") == "the"
        view.set_mark_visible(False)
        assert styled(view, "difference") == ""
        view.set_mark_visible(True)
        view.mark_difference(None)
        assert styled(view, "difference") == ""


async def test_a_difference_before_its_text_is_marked_as_it_comes() -> None:
    async with running() as (_, _, view):
        view.append("The sea")
        view.mark_difference(7)
        assert styled(view, "difference") == ""
        view.append(" roars and")
        view.append(" rolls")
        assert styled(view, "difference") == "roars"


async def test_searching_counts_goes_round_and_finds_text_to_come() -> None:
    async with running() as (_, _, view):
        view.append("Sea and " + lines(30) + "sea")
        assert view.search("nothing like it") == 0
        assert not view.next_match()
        assert view.search("sea") == 2
        assert view.next_match()
        assert (window(view)[0], styled(view, "current-match")) == ("Sea and line 0", "Sea")
        view.append("shore")
        assert view.next_match()
        assert (last_rows(view, 1)[0], styled(view, "current-match")) == ("seashore", "sea")
        view.append(" s")
        view.append("ea")
        assert view.next_match()
        assert last_rows(view, 1)[0] == "seashore sea"
        assert view.previous_match()
        assert view.search("Sea") == 1
        assert view.search("") == 0
        assert styled(view, "match") == ""


async def test_a_selection_copies_the_raw_text_without_soft_breaks_and_markers() -> None:
    async with running(columns=21) as (_, pilot, view):
        view.append("The deep blue sea rolls\tand")
        view.insert_marker("⟨T 2⟩")
        view.append(" roars\x1b[31m")
        await pilot.pause()
        assert window(view)[:3] == ["The deep blue sea", "rolls   and⟨T\u00a02⟩", "roars␛[31m"]

        def selected(start: tuple[int, int], end: tuple[int, int]) -> str:
            chosen = view.get_selection(Selection(Offset(*start), Offset(*end)))
            assert chosen is not None
            return chosen[0]

        assert selected((4, 0), (8, 1)) == "deep blue sea rolls\t"
        assert selected((8, 1), (9, 2)) == "and roars␛[31"
        everything = view.get_selection(Selection(None, None))
        assert everything == ("The deep blue sea rolls\tand roars␛[31m", "\n")


async def test_dragging_the_mouse_selects_what_it_passes() -> None:
    async with running() as (app, pilot, view):
        view.append("Ahoy 漢字 there, matey")
        await pilot.pause()
        await pilot.mouse_down(view, offset=(5, 0))
        await pilot.hover(view, offset=(15, 0))
        await pilot.mouse_up(view, offset=(15, 0))
        assert app.screen.get_selected_text() == "漢字 there,"  # up to the character under the pointer


async def test_clearing_forgets_everything() -> None:
    async with running() as (app, pilot, view):
        view.append(lines(50))
        view.insert_marker("⟨T 2⟩")
        view.mark_difference(0)
        view.search("line")
        await pilot.press("g")
        view.clear()
        await pilot.pause()
        assert (view.text, view.line_count, view.is_following) == ("", 0, True)
        view.append("line anew")
        assert window(view)[0] == "line anew"
        assert styled(view, "difference") == styled(view, "match") == styled(view, "marker") == ""
        assert app.scrolls == [(0, False)]


async def test_a_hostile_stream_shows_every_character_and_sends_none() -> None:
    async with running() as (_, pilot, view):
        for piece in HOSTILE:
            view.append(piece)
        await pilot.pause()
        await pilot.press("g")
        assert view.text == "".join(HOSTILE)
        shown = "".join(window(view))
        assert not {character for character in shown if ord(character) < 32 or 127 <= ord(character) < 160}
        assert "[/x] [bold]x[/bold] [@click=quit]" in " ".join(window(view))


def test_no_control_of_a_hostile_stream_reaches_the_real_terminal(tmp_path: Path) -> None:
    with in_pty("tests/tui/hostile_app.py", home=tmp_path, COLORTERM="truecolor") as program:
        program.read_until(b"THE-END")
        program.type("g")
        output = program.read_until("␛[31mred".encode())
        program.type("q")
        assert program.wait() == 0
    text = output.decode("utf-8").replace("\x1b]22;default\x07", "")  # Textual's own: the shape of the pointer
    for forbidden in ("\x1b]", "\x1b[31mred", "\x1b[2J", "\x1b(0", *"\x00\x07\x08\x0e\x7f\x85\x90\x9b\x9c"):
        assert forbidden not in text
    for hidden in "\u202e\u2069\u200d\ufe0f\x85\u2028\u2029":
        assert hidden not in text


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.sampled_from("ab \n\t漢é👋[]\x1b"), max_size=30), max_size=8), st.integers(5, 40))
async def test_any_stream_shows_as_if_it_had_come_at_once(pieces: list[str], columns: int) -> None:
    async with running(columns=columns, rows=6) as (_, pilot, view):
        for piece in pieces:
            view.append(piece)
        await pilot.pause()
        by_pieces = window(view), view.line_count
        view.clear()
        view.append("".join(pieces))
        await pilot.pause()
        assert (window(view), view.line_count) == by_pieces
        assert "".join(by_pieces[0]).replace(" ", "") in visible_text("".join(pieces)).replace("\n", "").replace(
            " ", ""
        )
