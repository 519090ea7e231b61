"""Untrusted text made fit for a terminal: every character shows, none commands.

Model output, concepts and file names may hold escape sequences, C1 controls, bidi overrides, hidden characters and
lone surrogates. `visible_text` maps each of them to one glyph of width one, so an offset into the raw text is the same
offset into the visible text. Nothing here knows of widgets, and markup is never parsed: brackets are just brackets.

Three choices need a reason:
- Zero-width joiner: shown as a tie (⁀). Terminals disagree on the width of a joined emoji, which tears a pane's border;
  its parts have a width that all agree on. 👨‍👩 therefore reads 👨⁀👩.
- Emoji presentation (U+FE0F): shown as U+034F, a combining mark without a picture, for the same disagreement about
  width. It is so common after ❤ and ✔ that a glyph would be noise.
- Combining marks stay: many scripts need them, and they cannot move the cursor.
"""

from __future__ import annotations

TIE = "\u2040"  # ⁀
HIDDEN = "\u25af"  # ▯
BIDI = "\u21c4"  # ⇄
LINE_BREAK = "\u23ce"  # ⏎
REPLACEMENT = "\ufffd"  # �
NO_PICTURE = "\u034f"

_BIDI = ((0x061C, 0x061C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069))
_HIDDEN = (
    (0x00AD, 0x00AD),  # soft hyphen
    (0x034F, 0x034F),  # the mark that stands for emoji presentation must not come in by itself
    (0x115F, 0x1160),  # Hangul fillers, letters without a picture
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian selectors and vowel separator
    (0x200B, 0x200C),  # zero-width space and non-joiner
    (0x2060, 0x2065),
    (0x206A, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0E),  # variation selectors but for emoji presentation
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x13430, 0x1345F),  # Egyptian joiners
    (0x1BCA0, 0x1BCA3),  # shorthand controls
    (0x1D173, 0x1D17A),  # musical controls
    (0xE0000, 0xE0FFF),  # tags and the selectors that can carry hidden bytes
)


def _fill(table: dict[int, str], ranges: tuple[tuple[int, int], ...], glyph: str) -> None:
    for first, last in ranges:
        table.update(dict.fromkeys(range(first, last + 1), glyph))


def _control_table() -> dict[int, str]:
    """Characters that a terminal or a shell acts on, but for the newline and the tab."""
    table = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
    table[0x7F] = "\u2421"  # ␡
    _fill(table, ((0x80, 0x9F), (0xD800, 0xDFFF)), REPLACEMENT)
    return table


def _visible_table() -> dict[int, str]:
    table = _control_table()
    _fill(table, _HIDDEN, HIDDEN)
    _fill(table, _BIDI, BIDI)
    _fill(table, ((0x2028, 0x2029),), LINE_BREAK)
    table |= {0x200D: TIE, 0xFE0F: NO_PICTURE}
    return table


_CONTROLS = _control_table()
_VISIBLE_WITH_TABS = _visible_table()
_VISIBLE = _VISIBLE_WITH_TABS | {ord("\t"): " "}
_VISIBLE_LINE = _VISIBLE | {ord("\n"): LINE_BREAK}


def visible_text(text: str) -> str:
    """Return `text`, as long as it was, with nothing left for a terminal to act on but newlines; a tab is a space."""
    return text.translate(_VISIBLE)


def visible_line(text: str) -> str:
    """As `visible_text`, with newlines shown as ⏎: for titles, cells and messages that must stay on one line."""
    return text.translate(_VISIBLE_LINE)


def visible_text_with_tabs(text: str) -> str:
    """As `visible_text`, with tabs left in for a caller that lays them out itself."""
    return text.translate(_VISIBLE_WITH_TABS)


def pasteable_text(text: str) -> str:
    """`text` for a clipboard: controls that could act when pasted into a shell are shown, all else is as it was."""
    return text.translate(_CONTROLS)
