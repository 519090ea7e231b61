from __future__ import annotations

import ast
import collections
import csv
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_texts import PLAIN_TEXTS

from flas_engine.data.rewrites import Style, rewrite, shows, styles
from flas_engine.data.rewrites.rewriting import GRACE, MAX_GROWTH

MIN_STYLES = 800
MIN_WORDINGS = 5
MIN_SUITED = 0.8
"""Of the plain texts, the share that every style takes; some styles need several sentences or certain words."""
MAX_FALSE_MARKS = 0.0005
"""Of all pairs of a plain text and a style, how many may look like the style."""
MAX_CROSS_MARKS = 0.001
"""Of all pairs of a style and another's rewrite, how many may look like it: some forms contain others (JSON lines)."""
NUM_CROSSED = 1
"""How many rewrites of every style are held to all other styles' marks."""
ONE_SENTENCE = "Tea is made from the dried leaves of a shrub that grows on hills."

STYLES = styles()
BY_KEY = {style.key: style for style in STYLES}


def rewrites_of(style: Style) -> list[str]:
    made = (rewrite(style, text, seed) for seed, text in enumerate(PLAIN_TEXTS))
    return [text for text in made if text is not None]


@pytest.fixture(scope="module")
def made() -> dict[str, list[str]]:
    """The rewrites of all plain texts, by style."""
    return {style.key: rewrites_of(style) for style in STYLES}


def test_there_are_many_styles_and_their_keys_differ() -> None:
    assert len({style.key for style in STYLES}) == len(STYLES) >= MIN_STYLES


def test_every_style_has_several_wordings_and_no_wording_names_two_styles() -> None:
    assert not [style.key for style in STYLES if len(style.wordings) < MIN_WORDINGS]
    uses = collections.Counter(" ".join(wording.split()).lower() for style in STYLES for wording in style.wordings)
    assert not [wording for wording, count in uses.items() if count > 1]


def test_a_wording_is_never_longer_than_a_concept_may_be() -> None:
    assert max(len(wording.split()) for style in STYLES for wording in style.wordings) <= 16


def test_every_style_rewrites_plain_texts_so_that_they_show_it(made: dict[str, list[str]]) -> None:
    assert not [key for key, texts in made.items() if len(texts) < MIN_SUITED * len(PLAIN_TEXTS)]
    assert not [(key, text) for key, texts in made.items() for text in texts if not shows(BY_KEY[key], text)]


def test_rewrites_of_different_texts_differ(made: dict[str, list[str]]) -> None:
    assert not [key for key, texts in made.items() if len(set(texts)) < len(texts)]


def test_rewrites_stay_short() -> None:
    for style in STYLES:
        for seed, text in enumerate(PLAIN_TEXTS):
            assert len(rewrite(style, text, seed) or "") <= MAX_GROWTH * len(text) + GRACE, style.key


def test_templates_leave_no_braces_behind(made: dict[str, list[str]]) -> None:
    braced = {key for key, texts in made.items() for text in texts if "{" in text or "}" in text}
    assert braced == {"json", "json_lines", "latex"}


def test_plain_texts_hardly_ever_show_a_style() -> None:
    false_marks = [(style.key, text) for style in STYLES for text in PLAIN_TEXTS if shows(style, text)]
    assert len(false_marks) <= MAX_FALSE_MARKS * len(STYLES) * len(PLAIN_TEXTS), false_marks


def test_rewrites_seldom_show_another_style(made: dict[str, list[str]]) -> None:
    pairs = [
        (style.key, key)
        for style in STYLES
        for key, texts in made.items()
        if key != style.key
        for text in texts[:NUM_CROSSED]
        if shows(style, text)
    ]
    total = NUM_CROSSED * len(STYLES) * (len(STYLES) - 1)
    assert len(pairs) <= MAX_CROSS_MARKS * total, collections.Counter(pairs).most_common(20)


def test_seeds_vary_a_rewrite_and_the_same_seed_repeats_it() -> None:
    spoken = [style for style in STYLES if style.recipe.openers]
    assert len(spoken) > len(STYLES) // 2
    assert not [style.key for style in spoken if len({rewrite(style, PLAIN_TEXTS[0], seed) for seed in range(8)}) < 4]
    assert [rewrite(style, PLAIN_TEXTS[1], 7) for style in STYLES] == [
        rewrite(style, PLAIN_TEXTS[1], 7) for style in STYLES
    ]


def test_another_process_makes_the_same_rewrites() -> None:
    code = (
        "import sys; from flas_engine.data.rewrites import rewrite, styles\n"
        "print(ascii([rewrite(style, sys.argv[1], 5) for style in styles()]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, PLAIN_TEXTS[2]],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(told.stdout) == [rewrite(style, PLAIN_TEXTS[2], 5) for style in STYLES]


def test_an_entry_with_values_makes_a_style_of_each() -> None:
    singer = BY_KEY["roles_opera_singer"]
    assert singer.wordings[0] == "talk like an opera singer"
    assert "opera singer" in (rewrite(singer, PLAIN_TEXTS[0], 0) or "")
    assert BY_KEY["roles_plumber"].wordings[0] == "talk like a plumber"
    assert not shows(singer, rewrite(BY_KEY["roles_plumber"], PLAIN_TEXTS[0], 0) or "")
    assert "<x>" not in str([style for style in STYLES if style.family == "phrases"])


def test_values_that_are_signs_are_taken_as_they_stand() -> None:
    starred = BY_KEY["sentence_marks_nods"]
    assert shows(starred, "It rains. *nods* It pours. *nods*")
    assert not shows(starred, "It rains. nods It pours. nods")


@given(text=st.text(max_size=400), seed=st.integers(0, 2**31), style=st.sampled_from(STYLES))
@settings(deadline=None, max_examples=300)
def test_no_text_breaks_a_rewrite(text: str, seed: int, style: Style) -> None:
    changed = rewrite(style, text, seed)
    shows(style, text)
    assert changed is None or shows(style, changed)


WORDS = 'water you the a good is, people make very I\'s well-known 3.5 (or so) e.g. and Dr. "yes" time.'


@given(
    parts=st.lists(st.sampled_from(WORDS.split()), min_size=4, max_size=40),
    seed=st.integers(0, 99),
    style=st.sampled_from(STYLES),
)
@settings(deadline=None, max_examples=300)
def test_no_mix_of_words_and_stops_breaks_a_rewrite(parts: list[str], seed: int, style: Style) -> None:
    text = " ".join(parts)
    changed = rewrite(style, text, seed)
    assert changed is None or (shows(style, changed) and len(changed) <= MAX_GROWTH * len(text) + GRACE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes.",
        "Sure, it is.",
        "```python\nprint(1)\n```\nThis prints the number one for you.",
        "Use <b>bold</b> text here, and it will look fine.",
        "1 2 3 4 5 6 7 8 9 10 11 12",
    ],
)
def test_code_and_scraps_are_refused(text: str) -> None:
    assert not [style.key for style in STYLES if rewrite(style, text, 0) is not None]


def test_lists_refuse_a_single_sentence() -> None:
    assert rewrite(BY_KEY["bullet_list"], ONE_SENTENCE, 0) is None
    assert rewrite(BY_KEY["all_capitals"], ONE_SENTENCE, 0) == ONE_SENTENCE.upper()


def test_json_parses(made: dict[str, list[str]]) -> None:
    assert all({"topic"} < json.loads(text).keys() for text in made["json"])
    assert all(json.loads(line)["id"] for text in made["json_lines"] for line in text.splitlines())


def test_yaml_parses(made: dict[str, list[str]]) -> None:
    assert all({"topic"} < yaml.safe_load(text).keys() for text in made["yaml"])


def test_xml_parses(made: dict[str, list[str]]) -> None:
    assert all(ElementTree.fromstring(text).tag == "answer" for text in made["xml"])


def test_html_closes_every_tag_in_turn(made: dict[str, list[str]]) -> None:
    for text in made["html"]:
        stack: list[str] = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, _, stack=stack: stack.append(tag)  # type: ignore[method-assign]
        parser.handle_endtag = lambda tag, stack=stack: stack.remove(tag) if stack[-1] == tag else stack.append("!")  # type: ignore[method-assign]
        parser.feed(text)
        assert not stack


def test_csv_has_three_columns_on_every_line(made: dict[str, list[str]]) -> None:
    for text in made["csv"]:
        assert {len(row) for row in csv.reader(text.splitlines())} == {3}


def test_print_statements_print_the_text(made: dict[str, list[str]]) -> None:
    for text in made["print_statements"]:
        calls = [statement.value for statement in ast.parse(text).body if isinstance(statement, ast.Expr)]
        assert len(calls) == len(text.splitlines())
        assert all(isinstance(call, ast.Call) and isinstance(call.args[0], ast.Constant) for call in calls)


def test_quotes_in_sql_are_doubled() -> None:
    text = "The cat's bowl is empty again. It doesn't like that at all."
    assert "'The cat''s bowl is empty again.'" in (rewrite(BY_KEY["sql"], text, 0) or "")
