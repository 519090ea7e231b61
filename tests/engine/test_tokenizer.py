"""Tokenizers made of their file against those that transformers' own AutoTokenizer makes of the same folder."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from byte_tokenizer import CHATML, GEMMA, LLAMA, byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_config
from tokenizers import AddedToken
from transformers import AutoTokenizer, GemmaTokenizer, Qwen2Tokenizer

from flas_engine.errors import ModelError
from flas_engine.tokenizer import CLASS_DEFAULTS, FileTokenizer, load_tokenizer, read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")
ODD = (
    *("", " ", "  ", "\n\n\n", "\t \t", "a  b   c", " leading", "trailing ", "\r\n", "\x00\x7f", "\ufeff\u200b\u00a0"),
    *("Ünd tief? e\u0301 ﬁ", "日本語 中文", "🙂👩‍👩‍👧‍👦🏳️‍🌈", "123 4567 89.01", "don't I'LL", "▁▁ ▁a"),
    *("<0x0A>", "<0xC3><0xA9>", "<bos>x<eos>", "<|im_start|>user\nhi<|im_end|>", "<start_of_turn>model\n"),
    *("<unused7> <mask> <pad> <unk>", "<custom>x"),
)
TURNS = [
    {"role": "user", "content": "How  wide?"},
    {"role": "assistant", "content": "Ünd"},
    {"role": "user", "content": "?"},
]


def save_gemma(folder: Path) -> None:
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789.,?'\n"]
    tokens = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "th", "the", "▁the", "▁▁"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "▁")]
    tokenizer = GemmaTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    tokenizer.add_tokens([AddedToken("<custom>", normalized=False)])
    tokenizer.chat_template = GEMMA
    _save(tokenizer, folder, "gemma2")


def save_qwen(folder: Path) -> None:
    alphabet = sorted(byte_tokenizer(None, bos=None, eos="<eos>").get_vocab(), key=len)[:256]
    tokens = ["<|endoftext|>", *alphabet, "th", "the", "Ġthe"]
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the")]
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges, eos_token="<|im_end|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHATML
    _save(tokenizer, folder, "qwen3")


def save_llama(folder: Path) -> None:
    tokenizer = byte_tokenizer(LLAMA, bos="<|begin_of_text|>", eos="<|eot_id|>", adds_bos=True)
    _save(tokenizer, folder, "llama")


def _save(tokenizer: Any, folder: Path, family: str) -> None:
    tokenizer.save_pretrained(folder)
    tiny_config(family).save_pretrained(folder)


SAVED = {"gemma": save_gemma, "qwen": save_qwen, "llama": save_llama}
every_kind = pytest.mark.parametrize("save", SAVED.values(), ids=SAVED.keys())


def change_settings(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    change(settings)
    file.write_text(json.dumps(settings))


def made(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder that is not left to AutoTokenizer."""
    assert read_tokenizer(folder) is not None
    return load_tokenizer(folder)


def assert_same(ours: Any, reference: Any, texts: tuple[str, ...] = ODD) -> None:
    for text in texts:
        for special in (True, False):
            ids = reference(text, add_special_tokens=special)["input_ids"]
            assert ours(text, add_special_tokens=special)["input_ids"] == ids, text
            for skip in (True, False):
                decode = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": False}
                assert ours.decode(ids, **decode) == reference.decode(ids, **decode), text
    everything = list(range(len(reference)))
    assert ours.convert_ids_to_tokens(everything) == reference.convert_ids_to_tokens(everything)
    assert ours.get_vocab() == reference.get_vocab()
    for name in (
        *("bos_token", "eos_token", "pad_token", "unk_token", "mask_token", "bos_token_id", "eos_token_id"),
        *("all_special_ids", "special_tokens_map", "added_tokens_decoder", "chat_template", "padding_side"),
    ):
        assert getattr(ours, name) == getattr(reference, name), name
    if reference.chat_template:
        template = {"add_generation_prompt": True, "return_dict": False}
        assert ours.apply_chat_template(TURNS, **template) == reference.apply_chat_template(TURNS, **template)


@every_kind
def test_a_family_tokenizes_as_by_the_librarys_own_way(save: Callable[[Path], None], tmp_path: Path) -> None:
    save(tmp_path)
    assert_same(made(tmp_path), AutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize("fixture", ["demo_model_dir", "demo_gemma_dir"])
def test_an_embedded_model_tokenizes_as_by_the_librarys_own_way(fixture: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(fixture)
    ours, reference = made(folder), AutoTokenizer.from_pretrained(folder)
    assert_same(ours, reference)

    @given(st.text())
    def any_text(text: str) -> None:
        ids = reference(text)["input_ids"]
        assert ours(text)["input_ids"] == ids
        assert ours.decode(ids) == reference.decode(ids)

    any_text()


@every_kind
def test_what_the_settings_leave_out_is_as_in_the_librarys_class(save: Callable[[Path], None], tmp_path: Path) -> None:
    save(tmp_path)
    names = [name for name in json.loads((tmp_path / "tokenizer_config.json").read_text()) if name.endswith("_token")]
    assert names
    for name in names:
        change_settings(tmp_path, lambda settings, name=name: settings.pop(name))
        assert_same(made(tmp_path), AutoTokenizer.from_pretrained(tmp_path), texts=ODD[-5:])


def test_added_tokens_that_the_settings_list_once_more_are_those_of_the_file(tmp_path: Path) -> None:
    """As the released Gemmas have them."""
    save_gemma(tmp_path)
    listed = {
        str(token.pop("id")): token for token in json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"]
    }
    change_settings(tmp_path, lambda settings: settings.update(added_tokens_decoder=listed))
    assert_same(made(tmp_path), AutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize("change", [{"special": False}, {"content": "<other>"}, {"lstrip": True}])
def test_an_added_token_that_the_settings_list_otherwise_is_the_librarys_business(
    change: dict[str, Any], tmp_path: Path
) -> None:
    save_gemma(tmp_path)
    token = json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"][0]
    listed = {str(token.pop("id")): token | change}
    change_settings(tmp_path, lambda settings: settings.update(added_tokens_decoder=listed))
    assert read_tokenizer(tmp_path) is None


def test_added_tokens_of_old_lists_are_the_librarys_business(tmp_path: Path) -> None:
    save_gemma(tmp_path)
    late = len(made(tmp_path))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<old>": late}))
    assert read_tokenizer(tmp_path) is None
    assert load_tokenizer(tmp_path).convert_tokens_to_ids("<old>") == late


def test_a_template_in_a_file_of_its_own_is_taken(tmp_path: Path) -> None:
    save_llama(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    assert made(tmp_path).apply_chat_template(TURNS, tokenize=False) == "How  wide?!"


def test_a_file_that_says_all_needs_no_library_before_a_template_is_asked_for(tmp_path: Path) -> None:
    byte_tokenizer(None, bos="<bos>", eos="<eos>").save_pretrained(tmp_path)
    tokenizer: Any = made(tmp_path)
    assert isinstance(tokenizer, FileTokenizer)
    ids = tokenizer("the sea")["input_ids"]
    assert tokenizer.decode(ids) == "the sea"
    assert tokenizer.chat_template is None
    assert "library" not in vars(tokenizer)
    tokenizer.library.chat_template = CHATML
    assert tokenizer.apply_chat_template(TURNS, tokenize=False).startswith("<|im_start|>user\nHow  wide?")
    assert tokenizer.library.backend_tokenizer is tokenizer.backend_tokenizer


@pytest.mark.parametrize(
    "change",
    [
        {"pad_token": "<new>"},
        {"bos_token": {"content": "<bos>", "lstrip": True}},
        {"extra_special_tokens": ["<new>"]},
        {"split_special_tokens": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_tokens_that_the_file_does_not_say_are_the_librarys_business(change: dict[str, Any], tmp_path: Path) -> None:
    save_llama(tmp_path)
    change_settings(tmp_path, lambda settings: settings.update(change))
    assert read_tokenizer(tmp_path) is None


def test_what_only_the_library_does_is_as_the_library_does_it(tmp_path: Path) -> None:
    save_llama(tmp_path)
    ours, reference = made(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert ours(["a", "bc"], return_length=True)["length"] == reference(["a", "bc"], return_length=True)["length"]
    assert ours.decode((20, 21)) == reference.decode((20, 21))
    assert ours.decode([20, 21], clean_up_tokenization_spaces=True) == reference.decode([20, 21])
    assert ours.convert_ids_to_tokens(20) == reference.convert_ids_to_tokens(20)
    assert ours.convert_ids_to_tokens([2, 20], True) == reference.convert_ids_to_tokens([2, 20], True)
    assert ours.vocab_size == reference.vocab_size
    assert len(ours) == len(reference)


@every_kind
def test_a_tokenizer_outlives_pickling_and_saving(save: Callable[[Path], None], tmp_path: Path) -> None:
    save(tmp_path)
    tokenizer = made(tmp_path)
    assert_same(pickle.loads(pickle.dumps(tokenizer)), tokenizer)
    tokenizer.save_pretrained(tmp_path / "again")
    again: Any = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert [again(text)["input_ids"] for text in ODD] == [tokenizer(text)["input_ids"] for text in ODD]


@pytest.mark.parametrize(
    ("name", "kind"), [("GemmaTokenizer", GemmaTokenizer), ("Qwen2Tokenizer", Qwen2Tokenizer)], ids=["gemma", "qwen"]
)
def test_the_defaults_are_those_of_the_librarys_classes(name: str, kind: type) -> None:
    import inspect

    parameters = inspect.signature(kind).parameters
    tokens = {key: value.default for key, value in parameters.items() if key.endswith("_token") and value.default}
    own = {"padding_side": kind.padding_side} if "padding_side" in vars(kind) else {}
    assert CLASS_DEFAULTS[name] == tokens | own


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer_class": "LlamaTokenizer"},
        {"tokenizer_class": None},
        {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}},
        {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_more_than_the_file_describes_is_left_to_the_library(change: dict[str, Any], tmp_path: Path) -> None:
    save_llama(tmp_path)
    change_settings(tmp_path, lambda settings: settings.update(change))
    assert read_tokenizer(tmp_path) is None


def test_a_gguf_file_and_a_folder_without_settings_are_left_to_the_library(tmp_path: Path) -> None:
    save_llama(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert read_tokenizer(tmp_path) is None
    assert read_tokenizer(tmp_path / "model.gguf") is None


@pytest.mark.parametrize("damage", ["", "{", "{}", '{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer_is_named_in_a_line(damage: str, tmp_path: Path) -> None:
    save_gemma(tmp_path)
    (tmp_path / "tokenizer.json").write_text(damage)
    with pytest.raises(ModelError, match=r"has no readable tokenizer \(.+\); download the model again") as caught:
        made(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_settings_are_named_in_a_line(tmp_path: Path) -> None:
    save_gemma(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"has no readable tokenizer \(.+\); download the model again") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
