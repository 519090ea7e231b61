from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from byte_tokenizer import CHATML, FIRST_BYTE, GEMMA, LLAMA, SPECIALS, THINKING, byte_tokenizer
from tiny import tiny_config

from flas_engine.base import load_generation_eos
from flas_engine.errors import ModelError, RequestError
from flas_engine.prompts import end_of_turn_ids, render_prompt, tokenize_plainly
from flas_engine.request import Message
from flas_engine.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

CHATS = {
    "chatml": byte_tokenizer(CHATML, bos="<|im_start|>", eos="<|im_end|>"),
    "qwen3": byte_tokenizer(THINKING, bos=None, eos="<|im_end|>"),
    "gemma": byte_tokenizer(GEMMA, bos="<bos>", eos="<eos>", adds_bos=True),
    "llama3": byte_tokenizer(LLAMA, bos="<|begin_of_text|>", eos="<|end_of_text|>", adds_bos=True),
}
every_chat = pytest.mark.parametrize("tokenizer", CHATS.values(), ids=CHATS.keys())

ONE_TURN = (Message(role="user", content="Tell me about the sea."),)
THREE_TURNS = (
    *ONE_TURN,
    Message(role="assistant", content="It is wide."),
    Message(role="user", content="How wide?\n  Ünd tief?"),
)


def as_dicts(conversation: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in conversation]


# --- chat ---


@every_chat
@pytest.mark.parametrize("conversation", [ONE_TURN, THREE_TURNS], ids=["one turn", "three turns"])
def test_a_chat_prompt_is_the_templates(tokenizer: PreTrainedTokenizerBase, conversation: tuple[Message, ...]) -> None:
    expected = tokenizer.apply_chat_template(
        as_dicts(conversation), add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    assert render_prompt(conversation, "chat", tokenizer) == expected


@pytest.mark.parametrize("conversation", [ONE_TURN, THREE_TURNS], ids=["one turn", "three turns"])
def test_a_chat_prompt_of_the_demo_is_its_templates(demo_model_dir: Path, conversation: tuple[Message, ...]) -> None:
    tokenizer = load_tokenizer(demo_model_dir)
    expected = tokenizer.apply_chat_template(as_dicts(conversation), add_generation_prompt=True, return_dict=False)
    assert render_prompt(conversation, "chat", tokenizer) == expected


@pytest.mark.parametrize("kind", ["gemma", "llama3"])
def test_the_templates_bos_is_not_doubled(kind: str) -> None:
    tokenizer = CHATS[kind]
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id  # it would add one by itself
    ids = render_prompt(THREE_TURNS, "chat", tokenizer)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_every_turn_stands_in_the_prompt_in_order() -> None:
    text = CHATS["llama3"].decode(render_prompt(THREE_TURNS, "chat", CHATS["llama3"]), skip_special_tokens=True)
    assert text == ("user\n\nTell me about the sea.assistant\n\nIt is wide.user\n\nHow wide?\n  Ünd tief?assistant\n\n")


def test_thinking_is_off() -> None:
    text = CHATS["qwen3"].decode(render_prompt(ONE_TURN, "chat", CHATS["qwen3"]))
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_a_system_text_is_written_where_the_template_has_a_place() -> None:
    conversation = (Message(role="system", content="Be brief."), *ONE_TURN)
    text = CHATS["chatml"].decode(render_prompt(conversation, "chat", CHATS["chatml"]))
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")


def test_a_system_text_that_the_template_refuses_is_refused_with_its_reason() -> None:
    conversation = (Message(role="system", content="Be brief."), *ONE_TURN)
    with pytest.raises(RequestError) as caught:
        render_prompt(conversation, "chat", CHATS["gemma"])
    assert str(caught.value) == (
        "the model's chat template refuses this conversation (System role not supported); leave out the system text"
    )


def test_turns_out_of_order_are_refused_without_talk_of_a_system_text() -> None:
    with pytest.raises(RequestError, match="Roles must alternate") as caught:
        render_prompt((*ONE_TURN, *ONE_TURN), "chat", CHATS["gemma"])
    assert "system" not in str(caught.value)
    assert "take turns" in str(caught.value)


def test_a_tokenizer_without_a_template_is_no_chat_model() -> None:
    with pytest.raises(ModelError, match=r"no chat template; .*alpaca"):
        render_prompt(ONE_TURN, "chat", byte_tokenizer(None, bos="<bos>", eos="<eos>"))


# --- alpaca ---


@pytest.mark.parametrize("adds_bos", [True, False])
def test_an_alpaca_prompt_has_one_bos_and_the_trained_text(*, adds_bos: bool) -> None:
    tokenizer = byte_tokenizer(None, bos="<bos>", eos="<eos>", adds_bos=adds_bos)
    ids = render_prompt(ONE_TURN, "alpaca", tokenizer)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids[1:]) == "### Instruction:\nTell me about the sea.\n\n### Response:\n"


def test_an_alpaca_prompt_without_a_bos_token_has_none() -> None:
    tokenizer = byte_tokenizer(None, bos=None, eos="<|endoftext|>")
    ids = render_prompt(ONE_TURN, "alpaca", tokenizer)
    assert tokenizer.decode(ids) == "### Instruction:\nTell me about the sea.\n\n### Response:\n"


def test_an_alpaca_conversation_repeats_its_paragraphs() -> None:
    tokenizer = byte_tokenizer(None, bos="<bos>", eos="<eos>")
    ids = render_prompt((Message(role="system", content="Be brief."), *THREE_TURNS), "alpaca", tokenizer)
    assert tokenizer.decode(ids[1:]) == (
        "Be brief.\n\n"
        "### Instruction:\nTell me about the sea.\n\n### Response:\nIt is wide.\n\n"
        "### Instruction:\nHow wide?\n  Ünd tief?\n\n### Response:\n"
    )


def test_plain_text_gets_no_special_tokens() -> None:
    tokenizer = CHATS["gemma"]
    ids = tokenize_plainly("the sea", tokenizer)
    assert min(ids) >= FIRST_BYTE
    assert tokenizer.decode(ids) == "the sea"


# --- what ends an answer ---


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ("chatml", {"<|im_end|>"}),
        ("qwen3", {"<|im_end|>"}),
        ("gemma", {"<eos>", "<end_of_turn>"}),
        ("llama3", {"<|end_of_text|>", "<|eot_id|>"}),
    ],
)
def test_the_templates_end_of_turn_is_found(kind: str, ends: set[str]) -> None:
    tokenizer = CHATS[kind]
    assert end_of_turn_ids(tokenizer, None) == {SPECIALS.index(token) for token in ends}


@every_chat
@pytest.mark.parametrize(("given", "expected"), [(77, {77}), ([77, 78], {77, 78}), ([], set()), (None, set())])
def test_ids_of_the_generation_config_join_those_of_the_template(
    tokenizer: PreTrainedTokenizerBase, given: int | list[int] | None, expected: set[int]
) -> None:
    assert end_of_turn_ids(tokenizer, given) == end_of_turn_ids(tokenizer, None) | expected


def test_a_base_model_ends_at_its_eos() -> None:
    tokenizer = byte_tokenizer(None, bos="<bos>", eos="<eos>")
    assert end_of_turn_ids(tokenizer, None) == {tokenizer.eos_token_id}


def test_ordinary_words_behind_an_answer_end_nothing() -> None:
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\nnext\n{% endfor %}"
    assert end_of_turn_ids(byte_tokenizer(template, bos=None, eos="<eos>"), None) == {SPECIALS.index("<eos>")}


def test_the_demos_answers_end_at_its_end_of_turn(demo_model_dir: Path) -> None:
    tokenizer = load_tokenizer(demo_model_dir)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in end_of_turn_ids(tokenizer, None)


@pytest.mark.parametrize(
    ("generation_config", "expected"),
    [({"eos_token_id": [1, 106]}, {1, 106}), ({"eos_token_id": 107}, {1, 107}), ({}, {1}), (None, {1})],
)
def test_eos_ids_are_read_off_the_generation_config_and_the_config(
    tmp_path: Path, generation_config: dict[str, object] | None, expected: set[int]
) -> None:
    if generation_config is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation_config))
    assert set(load_generation_eos(tmp_path, tiny_config("gemma2"))) == expected


def test_a_damaged_generation_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1,')
    with pytest.raises(ModelError, match=r"generation_config\.json cannot be read"):
        load_generation_eos(tmp_path, tiny_config("gemma2"))
