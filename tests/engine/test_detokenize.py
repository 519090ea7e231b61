from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from flas_engine.detokenize import REPLACEMENT, Detokenizer, StopStrings
from flas_engine.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

HARD_TEXTS = (
    "Plain words, twice.  And spaces.",
    "héllo … naïve",
    "世界、こんにちは。한국어",
    "👩‍🚀👨‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🇩🇪",
    "𓀀𓂀 ꙮ ᚠᛇ ⵣ",
    "e\u0301\u0323 עברית العربية हिन्दी ไทย",
    "\n\n\t tabs\r\nand \u200b\u00a0 spaces ",
)


@pytest.fixture(scope="module", params=["demo", "demo-gemma"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """A byte-level tokenizer, and one that falls back to byte tokens."""
    name = {"demo": "demo_model_dir", "demo-gemma": "demo_gemma_dir"}[request.param]
    folder: Path = request.getfixturevalue(name)
    return load_tokenizer(folder)


def pieces_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [detokenizer.push(token_id) for token_id in ids] + [detokenizer.flush()]


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@cache
def byte_table(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the single-byte tokens by byte; -1 where the vocabulary has none."""
    vocabulary = tokenizer.get_vocab()
    if "<0x00>" in vocabulary:
        return [vocabulary[f"<0x{byte:02X}>"] for byte in range(256)]
    # The byte-level alphabet: printable bytes stand for themselves, the others follow from U+0100 on.
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    characters = [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
    return [vocabulary.get(character, -1) for character in characters]


@cache
def ids_of_all_kinds(tokenizer: PreTrainedTokenizerBase) -> st.SearchStrategy[list[int]]:
    specials = [i for i, token in tokenizer.added_tokens_decoder.items() if token.special][:20]
    single_bytes = [token_id for token_id in byte_table(tokenizer) if token_id >= 0]
    run = st.one_of(
        st.lists(st.integers(0, len(tokenizer) - 1), max_size=4),
        st.lists(st.sampled_from(single_bytes), max_size=6),
        st.sampled_from([ids_of(tokenizer, text) for text in HARD_TEXTS]),
        st.text(max_size=6).map(lambda text: ids_of(tokenizer, text)),
        st.sampled_from(specials).map(lambda token_id: [token_id]),
    )
    return st.lists(run, max_size=6).map(lambda runs: [token_id for each in runs for token_id in each])


@given(data=st.data())
def test_pieces_join_to_the_decoding_of_all_ids(tokenizer: PreTrainedTokenizerBase, data: st.DataObject) -> None:
    ids = data.draw(ids_of_all_kinds(tokenizer))
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_whole_characters_only(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    pieces = pieces_of(tokenizer, ids_of(tokenizer, text))
    assert "".join(pieces) == text
    assert not [piece for piece in pieces if REPLACEMENT in piece]


@pytest.mark.parametrize("character", ["€", "🜨", "𓀀"])
def test_a_character_comes_with_its_last_byte(tokenizer: PreTrainedTokenizerBase, character: str) -> None:
    table = byte_table(tokenizer)
    ids = [table[byte] for byte in character.encode()] + ids_of(tokenizer, "x")
    pieces = pieces_of(tokenizer, ids)
    assert "".join(pieces) == f"{character}x"
    assert set(pieces[: len(character.encode()) - 1]) == {""}


def test_plain_words_are_not_held_back(tokenizer: PreTrainedTokenizerBase) -> None:
    *pieces, tail = pieces_of(tokenizer, ids_of(tokenizer, "The sea is calm tonight."))
    assert all(pieces)
    assert tail == ""


def test_an_unfinished_character_is_let_out_at_the_end(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = [*ids_of(tokenizer, "so"), byte_table(tokenizer)["€".encode()[0]]]
    *pieces, tail = pieces_of(tokenizer, ids)
    assert "".join(pieces) == "so"
    assert tail == REPLACEMENT


def test_special_tokens_are_silent(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.eos_token_id is not None
    assert pieces_of(tokenizer, [tokenizer.eos_token_id] * 3) == ["", "", "", ""]


def test_a_byte_run_goes_on_behind_a_special_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Special tokens drop out before bytes are put together, so that a broken byte can still break those before."""
    table = byte_table(tokenizer)
    euro = [table[byte] for byte in "€".encode()]
    assert tokenizer.eos_token_id is not None
    ids = [*euro, tokenizer.eos_token_id, euro[0], *ids_of(tokenizer, "x")]
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def stripping_tokenizer() -> PreTrainedTokenizerBase:
    """Decodes as the sentencepiece tokenizers of the first Llamas do: the text's first space is dropped."""
    vocabulary = {"<unk>": 0, "</s>": 1, "▁": 2, "▁Hello": 3, "▁world": 4, "!": 5, "<0x0A>": 6}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


@given(ids=st.lists(st.integers(1, 6), max_size=12))
@example(ids=[3, 1, 4])
@example(ids=[1, 1, 3, 4, 5])
def test_spaces_survive_a_tokenizer_that_strips_the_first(ids: list[int]) -> None:
    tokenizer = stripping_tokenizer()
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


class Shouting(PreTrainedTokenizerFast):
    """A tokenizer with a decoding of its own on top of its fast one."""

    def _decode(self, *args: Any, **kwargs: Any) -> str:
        text: str = super()._decode(*args, **kwargs)
        return text.upper()


def test_a_tokenizers_own_decoding_is_kept() -> None:
    tokenizer = Shouting(tokenizer_object=stripping_tokenizer().backend_tokenizer, unk_token="<unk>", eos_token="</s>")
    assert "".join(pieces_of(tokenizer, [3, 4, 1, 5])) == tokenizer.decode([3, 4, 1, 5], skip_special_tokens=True)
    assert "".join(pieces_of(tokenizer, [3, 4, 5])) == "HELLO WORLD!"


# --- stop strings ---


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Cut `text` before the stop string that is complete first; of two that end together, before the longer one."""
    for end in range(len(text) + 1):
        places = [place for stop in stops if (place := text[:end].find(stop)) >= 0]
        if places:
            return text[: min(places)], True
    return text, False


def push_all(pieces: Sequence[str], stops: Sequence[str]) -> tuple[str, bool]:
    filter_, shown = StopStrings(tuple(stops)), ""
    for piece in pieces:
        kept, is_stopped = filter_.push(piece)
        shown += kept
        if is_stopped:
            return shown, True
    return shown + filter_.flush(), False


few_letters = st.text("abc\n", max_size=8)
stop_lists = st.lists(st.text("abc\n", min_size=1, max_size=5), max_size=3)


@given(pieces=st.lists(few_letters, max_size=8), stops=stop_lists)
@example(pieces=["abcdef"], stops=["abcdef", "cd"])
@example(pieces=["a", "b", "c", "d", "e", "f"], stops=["abcdef", "cd"])
def test_text_is_cut_before_the_first_stop_string_however_it_comes(pieces: list[str], stops: list[str]) -> None:
    assert push_all(pieces, stops) == cut("".join(pieces), stops)


@given(pieces=st.lists(few_letters, max_size=8), stop=st.text("abc\n", min_size=1, max_size=5))
def test_one_stop_string_cuts_where_find_finds_it(pieces: list[str], stop: str) -> None:
    text = "".join(pieces)
    place = text.find(stop)
    assert push_all(pieces, [stop]) == (text if place < 0 else text[:place], place >= 0)


@given(pieces=st.lists(few_letters, max_size=8), stops=stop_lists)
def test_nothing_of_a_stop_string_is_ever_shown_and_no_more_is_held_back(pieces: list[str], stops: list[str]) -> None:
    filter_, text, shown = StopStrings(tuple(stops)), "", ""
    for piece in pieces:
        kept, is_stopped = filter_.push(piece)
        text, shown = text + piece, shown + kept
        if is_stopped:
            return
        held = text[len(shown) :]
        assert text.startswith(shown)
        assert not held or any(stop != held and stop.startswith(held) for stop in stops)


def test_without_stop_strings_everything_passes() -> None:
    assert StopStrings(()).push("anything") == ("anything", False)


def test_a_beginning_is_held_back_until_it_is_decided() -> None:
    filter_ = StopStrings(("\nUser:", "###"))
    assert filter_.push("Hello\nUs") == ("Hello", False)
    assert filter_.push("ual #") == ("\nUsual ", False)
    assert filter_.push("# b") == ("## b", False)
    assert filter_.push("##") == ("", False)
    assert filter_.flush() == "##"
    assert filter_.flush() == ""
