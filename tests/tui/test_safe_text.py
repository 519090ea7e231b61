"""No character of a model's text acts on the terminal, and each keeps its place."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from flas_tui.safe_text import pasteable_text, visible_line, visible_text, visible_text_with_tabs

ANY_TEXT = st.text(st.characters(codec=None, categories=None) | st.characters(codec="utf-8"))
EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1)]
VISIBLE_FORMAT = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Arabic, Syriac and Kaithi signs of category Cf that have a picture and a width."""


def test_no_character_is_left_that_commands_or_hides() -> None:
    left = {
        character
        for character in EVERY_CHARACTER
        for shown in visible_text(character)
        if shown != "\n" and unicodedata.category(shown) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    }
    assert left == VISIBLE_FORMAT


def test_every_control_has_a_picture_of_its_own_below_space() -> None:
    controls = [chr(code) for code in range(32) if chr(code) not in "\n\t"]
    assert len({visible_text(control) for control in controls}) == len(controls)
    assert all(unicodedata.name(visible_text(control)).startswith("SYMBOL FOR") for control in controls)


@given(ANY_TEXT)
def test_each_character_keeps_its_place(text: str) -> None:
    for show in (visible_text, visible_line, visible_text_with_tabs, pasteable_text):
        shown = show(text)
        assert len(shown) == len(text)
        assert all(show(one) == other for one, other in zip(text, shown, strict=True))


@given(ANY_TEXT)
def test_the_width_is_the_sum_of_the_characters_widths(text: str) -> None:
    # Joiners and selectors change widths, and terminals disagree on how: none may be left.
    shown = visible_text(text)
    assert cell_len(shown) == sum(get_character_cell_size(character) for character in shown)


@given(ANY_TEXT)
def test_what_is_visible_can_be_written_as_utf_8(text: str) -> None:
    assert visible_text(text).encode("utf-8").decode("utf-8") == visible_text(text)


@given(ANY_TEXT)
def test_showing_twice_shows_the_same_words(text: str) -> None:
    once = visible_text(text).replace("\u034f", "")
    assert visible_text(once) == once


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain [b]words[/x] stay\n", "plain [b]words[/x] stay\n"),
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("\x9b31m\x7f", "\ufffd31m␡"),
        ("user\u202etxt.exe", "user⇄txt.exe"),
        ("in\u200bvisible\u00ad", "in▯visible▯"),
        ("👨\u200d👩\u200d👧", "👨⁀👩⁀👧"),
        ("❤\ufe0f", "❤\u034f"),
        ("\U000e0041\U000e0100", "▯▯"),
        ("\ud83d", "\ufffd"),
        ("a\tb", "a b"),
        ("नमस्ते", "नमस्ते"),
        ("a\u2028b", "a⏎b"),
    ],
)
def test_it_reads_as_documented(raw: str, shown: str) -> None:
    assert visible_text(raw) == shown


def test_a_line_stays_one_line() -> None:
    assert len(visible_line("".join(EVERY_CHARACTER)).splitlines()) == 1


def test_pasted_text_keeps_what_only_looks() -> None:
    assert pasteable_text("a\tb\n👨\u200d👩 ❤\ufe0f \u202e") == "a\tb\n👨\u200d👩 ❤\ufe0f \u202e"
    assert pasteable_text("\x1b\x9b\r\x00\ud800") == "␛\ufffd␍␀\ufffd"
