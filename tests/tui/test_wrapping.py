"""Wrapping piece by piece is wrapping at once, and no row is wider than the pane."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flas_tui.safe_text import visible_text_with_tabs
from flas_tui.widgets.wrapping import IncrementalWrap, Row, expand_tabs

PIECES = st.lists(
    st.text(st.sampled_from("ab c,\n\t  de漢字é\u0301👋\u200d-") | st.characters(codec="utf-8"), max_size=20)
)
WIDTHS = st.integers(1, 30)


def wrap(pieces: list[str], width: int) -> tuple[str, IncrementalWrap]:
    laid_out = IncrementalWrap(width)
    visible = [visible_text_with_tabs(piece) for piece in pieces]
    for piece in visible:
        laid_out.append(piece)
    return "".join(visible), laid_out


def rows(wrapped: IncrementalWrap) -> list[Row]:
    return [wrapped.row(index) for index in range(wrapped.row_count)]


def shown(text: str, wrapped: IncrementalWrap) -> list[str]:
    return [expand_tabs(text[row.start : row.end])[0].rstrip(" ") for row in rows(wrapped)]


@given(PIECES, WIDTHS)
def test_wrapping_by_pieces_equals_wrapping_at_once(pieces: list[str], width: int) -> None:
    _, by_pieces = wrap(pieces, width)
    _, at_once = wrap(["".join(pieces)], width)
    assert rows(by_pieces) == rows(at_once)


@given(PIECES, WIDTHS)
def test_rows_hold_every_character_but_the_newlines_in_order(pieces: list[str], width: int) -> None:
    text, wrapped = wrap(pieces, width)
    assert "".join(text[row.start : row.end] for row in rows(wrapped)) == text.replace("\n", "")


@given(PIECES, st.integers(2, 30))
def test_no_row_is_wider_than_the_pane_but_for_hanging_spaces(pieces: list[str], width: int) -> None:
    text, wrapped = wrap(pieces, width)
    assert all(cell_len(row) <= width for row in shown(text, wrapped))


@given(PIECES, WIDTHS)
def test_a_closed_row_never_changes(pieces: list[str], width: int) -> None:
    wrapped = IncrementalWrap(width)
    closed: list[Row] = []
    for piece in pieces:
        wrapped.append(visible_text_with_tabs(piece))
        assert wrapped.closed[: len(closed)] == closed
        closed = list(wrapped.closed)


@given(PIECES, WIDTHS)
def test_every_character_is_found_in_its_row(pieces: list[str], width: int) -> None:
    _, wrapped = wrap(pieces, width)
    for index, row in enumerate(rows(wrapped)):
        for offset in range(row.start, row.end):
            assert wrapped.find_row(offset) == index


@pytest.mark.parametrize(
    ("width", "text", "expected"),
    [
        (8, "the sea, tomorrow", ["the sea,", "tomorrow"]),
        (4, "abcdef gh", ["abcd", "ef", "gh"]),
        (5, "hello world", ["hello", "world"]),
        (5, "a\n\nb\n", ["a", "", "b", ""]),
        (4, "漢字漢", ["漢字", "漢"]),
        (3, "漢字", ["漢", "字"]),
        (1, "漢a", ["漢", "a"]),
        (6, "a\tbc d", ["a   bc", "d"]),
        (4, "e\u0301e\u0301e\u0301e\u0301e\u0301", ["e\u0301" * 4, "e\u0301"]),
        (4, "ab      cd", ["ab", "cd"]),
    ],
)
def test_rows_break_where_a_reader_expects(width: int, text: str, expected: list[str]) -> None:
    _, wrapped = wrap([text], width)
    assert shown(text, wrapped) == expected


def test_ten_kilobytes_without_a_space_are_cut_at_the_width() -> None:
    _, wrapped = wrap(["x" * 10_000], 40)
    assert rows(wrapped) == [Row(start, start + 40) for start in range(0, 10_000, 40)]


def test_an_unbroken_piece_is_not_cut_while_it_fits_a_row() -> None:
    text, wrapped = wrap(["the day"], 12)
    wrapped.append_unbroken("<T 1.25>")
    assert shown(text + "<T 1.25>", wrapped) == ["the day", "<T 1.25>"]


def test_no_text_has_no_rows_and_a_newline_opens_one() -> None:
    assert wrap([], 10)[1].row_count == 0
    assert wrap(["\n"], 10)[1].row_count == 2


@given(st.text(st.sampled_from("a\t漢 "), max_size=12))
def test_laid_out_tabs_lead_back_to_their_characters(text: str) -> None:
    display, origins = expand_tabs(text)
    assert len(origins) == len(display) + 1
    assert [text[origin] for origin, character in zip(origins, display, strict=False) if character not in " "] == [
        character for character in text if character not in " \t"
    ]
