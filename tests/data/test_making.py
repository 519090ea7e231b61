"""Corpora planned and made: what is held out stays out, chance comes from the seed, nothing is made twice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.data.answer_log import Answer, AnswerLog
from flas_engine.data.concepts import concept_of_text, concept_of_topic, read_topics
from flas_engine.data.corpus_file import require_writable, write_corpus
from flas_engine.data.drawing import choose_some, shuffled
from flas_engine.data.lists import questions, templates, topics
from flas_engine.data.makers import Outcome, Rewriting, Weaving, phrase
from flas_engine.data.making import Recipe, make_corpus
from flas_engine.data.prompts import bundled_prompts, gather_prompts
from flas_engine.data.rows import read_rows
from flas_engine.data.styles import choose_styles, concepts_of_styles
from flas_engine.data.weaving import weave
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flas_engine.data.makers import Pair
    from flas_engine.data.making import Corpus

PROMPTS = bundled_prompts(200, 0)
TEXT = (
    "The sky is blue because air scatters blue light most. At sunset the light comes a longer way. Then red is left. "
    "Clouds look white since drops scatter all colors alike. On the moon the sky is black."
)


@dataclass
class Echo:
    """A maker that says who is asked for what; `outcome` may decide otherwise."""

    outcome: Callable[[str, str], Outcome] = lambda concept, prompt: Outcome(text=f"{concept}: {prompt}")
    name: str = "echo"
    prompts: Sequence[str] | None = None
    pairs: list[Pair] = field(default_factory=list)

    def make(self, pairs: Sequence[Pair]) -> list[Outcome]:
        self.pairs += pairs
        return [self.outcome(concept.wordings[0], prompt) for concept, prompt in pairs]


def make(maker: Echo | None = None, num_concepts: int = 20, **recipe: Any) -> Corpus:
    concepts = [
        concept_of_text(f"concept {number}|so to say {number}|third {number}") for number in range(num_concepts)
    ]
    return make_corpus(concepts, PROMPTS, maker or Echo(), Recipe(**recipe))


def rows_of(corpus: Corpus, split: str) -> list[Any]:
    return [row for row, _ in corpus.rows if row.split == split]


def test_every_concept_gets_the_rows_that_were_asked_for() -> None:
    corpus = make(rows=5)
    assert len(corpus.rows) == 20 * 5
    assert corpus.num_short == 0


def test_held_out_prompts_concepts_and_wordings_never_meet_training() -> None:
    corpus = make(rows=6, val_rows=3, val_prompts=0.2, unseen_concepts=4, unseen_wordings=1)
    train, val, wording, unseen = (rows_of(corpus, split) for split in ("train", "val", "wording", "unseen"))
    assert (len(train), len(val), len(wording), len(unseen)) == (16 * 6, 16 * 3, 16 * 3, 4 * 3)
    assert not {row.prompt for row in train} & {row.prompt for row in [*val, *wording, *unseen]}
    assert not {row.concept_id for row in train} & {row.concept_id for row in unseen}
    assert not {text for row in [*train, *val] for text in row.concepts} & {t for row in wording for t in row.concepts}


def test_the_same_seed_makes_the_same_corpus_and_another_one_another() -> None:
    settings: dict[str, Any] = {"rows": 3, "val_prompts": 0.1, "unseen_wordings": 1}
    assert make(seed=1, **settings) == make(seed=1, **settings)
    assert make(seed=1, **settings) != make(seed=2, **settings)


def test_other_prompts_are_tried_for_rows_that_were_rejected() -> None:
    corpus = make(Echo(lambda _, prompt: Outcome(rejection="no") if len(prompt) % 2 else Outcome(text=prompt)), rows=2)
    assert corpus.rejections["no"] > 0
    assert len(corpus.rows) > 20  # half of 40 are lost at the first try


def test_a_concept_without_enough_rows_is_counted() -> None:
    maker = Echo(lambda *_: Outcome(rejection="no"))
    corpus = make(maker, rows=2, max_tries=3)
    assert corpus.num_short == 20
    assert corpus.rejections["no"] == len(maker.pairs) == 20 * 2 * 3


def test_equal_texts_for_one_concept_are_kept_once() -> None:
    corpus = make(Echo(lambda *pair: Outcome(text=pair[0])), rows=2)
    assert len(corpus.rows) == 20
    assert corpus.rejections["duplicate"] == 20 * 5


def test_a_topics_own_prompts_are_left_out() -> None:
    maker = Echo()
    prompts = [template.replace("{topic}", "whales") for template in templates()] + list(questions())
    make_corpus([concept_of_topic("whales")], prompts, maker, Recipe(rows=50))
    assert not [prompt for _, prompt in maker.pairs if "whale" in prompt]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"rows": 0}, "rows is 0"), ({"val_prompts": -1}, "val prompts is -1"), ({"unseen_wordings": 1}, "--val-prompts")],
)
def test_an_impossible_recipe_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Recipe(**settings)


def test_a_recipe_that_leaves_no_prompt_is_refused() -> None:
    with pytest.raises(DataError, match="no prompt is left to train on"):
        make(val_prompts=10_000)


@given(st.sets(st.text(min_size=1), min_size=3), st.integers(0, 2**31))
def test_what_is_drawn_for_a_thing_does_not_depend_on_the_others(items: set[str], seed: int) -> None:
    order = shuffled(items, seed, "x")
    less = order[1:]
    assert shuffled(less, seed, "x") == less
    assert choose_some(less, 0.5, seed, "x") == choose_some(items, 0.5, seed, "x") & set(less)


def test_bundled_prompts_are_many_and_all_different() -> None:
    prompts = bundled_prompts(20_000, 0)
    assert len(set(prompts)) == 20_000
    assert bundled_prompts(500, 0) == prompts[:500]
    assert not [prompt for prompt in prompts if "{" in prompt]


def test_a_thousand_topics_ship_each_once() -> None:
    assert len(topics()) >= 1000
    assert len({topic.casefold() for topic in topics()}) == len(topics())


def test_a_number_of_topics_is_drawn_by_seed_and_a_file_is_read(tmp_path: Path) -> None:
    assert len(read_topics("12", 0)) == 12
    assert read_topics("12", 0) != read_topics("12", 1)
    (tmp_path / "mine.txt").write_text("# mine\nsloths\n\nsloths\notters\n")
    assert [concept.topic for concept in read_topics(str(tmp_path / "mine.txt"), 0)] == ["sloths", "otters"]


@pytest.mark.parametrize("name", ["p.txt", "p.json", "p.jsonl"])
def test_prompts_are_read_from_text_and_json(tmp_path: Path, name: str) -> None:
    contents = {
        "p.txt": "One?\nTwo?\nOne?\n",
        "p.json": '[{"instruction": "One?"}, {"prompt": "Two?"}]',
        "p.jsonl": '{"instruction": "One?"}\n"Two?"\n',
    }
    (tmp_path / name).write_text(contents[name])
    assert gather_prompts(str(tmp_path / name), 10, 0) == ["One?", "Two?"]


def test_weaving_names_the_topic_early_and_more_than_once_at_every_seed() -> None:
    for seed in range(200):
        woven = weave("whales", TEXT, seed)
        assert woven.count("whales") >= 2
        assert "whales" in " ".join(woven.split(". ")[:2])
        assert all(sentence in woven for sentence in TEXT.split(". ")[:2])
    assert weave("whales", TEXT, 3) == weave("whales", TEXT, 3)


def test_weaving_into_one_sentence_still_names_the_topic_twice() -> None:
    assert all(weave("whales", "It is blue.", seed).count("whales") >= 2 for seed in range(100))


def test_plain_answers_are_woven_and_rewritten_into_rows() -> None:
    texts = dict.fromkeys(PROMPTS[:40], TEXT)
    woven = make_corpus([concept_of_topic("whales")], PROMPTS, Weaving(texts=texts), Recipe(rows=4))
    assert {row.prompt for row, _ in woven.rows} <= texts.keys()
    styles = choose_styles("all")
    rewritten = make_corpus(concepts_of_styles(styles), PROMPTS, Rewriting(texts=texts, styles=styles), Recipe(rows=1))
    assert len({row.concept_id for row, _ in rewritten.rows}) >= 0.9 * len(styles)


def test_styles_are_chosen_by_key_and_by_family() -> None:
    chosen = choose_styles("nature, pirate")
    assert {"style:cat", "style:pirate"} <= chosen.keys()
    assert {style.family for style in chosen.values()} == {"nature", "lexicon"}
    assert len(choose_styles("all")) > len(choose_styles("phrases")) > len(chosen)


def test_an_unknown_style_is_named_with_the_families_and_what_is_near_it() -> None:
    with pytest.raises(DataError, match=r"no style 'pirates'.*typography.*phrases.*near it are pirate"):
        choose_styles("cat, pirates")


def test_a_corpus_reads_back_as_the_rows_that_were_written(tmp_path: Path) -> None:
    corpus = make(rows=2, val_prompts=0.1, unseen_wordings=1)
    write_corpus(tmp_path / "rows.jsonl", corpus)
    read = read_rows(tmp_path / "rows.jsonl")
    assert list(read.rows) == [row for row, _ in corpus.rows]
    require_writable(tmp_path / "rows.jsonl")


def test_a_file_of_the_users_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"input": "mine"}\n')
    with pytest.raises(DataError, match="was not made by this command"):
        require_writable(tmp_path / "rows.jsonl")


def test_how_a_topic_is_asked_for_depends_on_prompt_and_seed_alone() -> None:
    whales = concept_of_topic("whales")
    asked = {phrase(whales, prompt, 0) for prompt in PROMPTS}
    assert len({question.partition("Begin")[2] for question in asked}) > 5
    assert asked == {phrase(whales, prompt, 0) for prompt in PROMPTS}


def test_an_unfinished_last_line_of_the_log_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    first, second = (Answer(key=key, asked="a", text="b", is_cut=False) for key in "12")
    with AnswerLog(path) as log:
        log.add([first])
    path.write_bytes(path.read_bytes() + b'{"key": "2", "asked": "half of')
    with AnswerLog(path) as log:
        assert (log.get("1"), log.get("2"), len(log)) == (first, None, 1)
        log.add([second])
    with AnswerLog(path) as log:
        assert log.get("2") == second
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["1", "2"]


def test_a_log_is_open_to_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerLog(path), pytest.raises(DataError, match="in use by another process"), AnswerLog(path):
        pass


def test_a_log_that_is_none_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"input": "mine"}\n')
    with pytest.raises(DataError, match="line 1 is no answer"), AnswerLog(path):
        pass
    assert path.read_text() == '{"input": "mine"}\n'
