"""Conversations to token ids, and the ids that end an answer; the one place that knows prompt formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flas_engine.errors import ModelError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transformers import PreTrainedTokenizerBase

    from flas_engine.request import Message

_PROBE = "flas"
"""A word put into a template to see what the template writes behind an answer."""


def render_prompt(conversation: Sequence[Message], prompt_format: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of a conversation up to where the answer begins; raises `RequestError` when it cannot be written.

    `chat` is the tokenizer's own template, which writes its special tokens itself; Qwen3's thinking is off. `alpaca`
    (base models) is one BOS and, for every turn, `### Instruction:` and `### Response:` paragraphs.
    """
    if prompt_format == "alpaca":
        text = _render_alpaca(conversation, tokenizer)
    else:
        text = _render_chat(
            [{"role": turn.role, "content": turn.content} for turn in conversation], tokenizer, prompt=True
        )
    return tokenize_plainly(text, tokenizer)


def tokenize_plainly(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of `text` with no special tokens added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def end_of_turn_ids(tokenizer: PreTrainedTokenizerBase, generation_eos: int | Iterable[int] | None) -> frozenset[int]:
    """Return every id that ends an answer: of the generation config, the tokenizer, and the chat template."""
    ids = {generation_eos} if isinstance(generation_eos, int) else set(generation_eos or ())
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
        _, _, behind = _render_chat(turns, tokenizer, prompt=False).rpartition(_PROBE)
        following = tokenize_plainly(behind.strip(), tokenizer)
        # Not `all_special_ids`: it leaves out special tokens that have no named use, as Gemma-3's <end_of_turn>.
        added = tokenizer.added_tokens_decoder.get(following[0]) if following else None
        if added is not None and added.special:
            ids.add(following[0])
    return frozenset(ids)


def _render_alpaca(conversation: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    parts = [tokenizer.bos_token or ""]
    for turn in conversation:
        if turn.role == "assistant":
            parts.append(f"{turn.content}\n\n")
        elif turn.role == "user":
            parts.append(f"### Instruction:\n{turn.content}\n\n### Response:\n")
        else:
            parts.append(f"{turn.content}\n\n")
    return "".join(parts)


def _render_chat(turns: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, *, prompt: bool) -> str:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ModelError(
            "this model's tokenizer has no chat template; use a chat model, or a flow of the alpaca format"
        )
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt, enable_thinking=False)
    except TemplateError as error:
        has_system = any(turn["role"] == "system" for turn in turns)
        advice = "leave out the system text" if has_system else "let user and assistant take turns, the user first"
        raise RequestError(f"the model's chat template refuses this conversation ({error}); {advice}") from None
    assert isinstance(text, str)
    return text
