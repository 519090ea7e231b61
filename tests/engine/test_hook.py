"""`with steered(model, ...)` against the engine's own cut forward pass, and its manners."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING

import pytest
import torch
from tiny import FAMILY_NAMES, tiny_flow, tiny_transformers_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from flas_engine.base import from_transformers
from flas_engine.batch import LaneBatch
from flas_engine.checkpoint import write_flow
from flas_engine.concept import make_encoder
from flas_engine.errors import CheckpointError, RequestError
from flas_engine.hook import steered
from flas_engine.request import WeightedConcept
from flas_engine.solvers import EULER
from flas_engine.steering import Steering

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from flas_engine.checkpoint import Flow

LAYER = 2
ROUNDING = 2e-5
CACHE = "cache" if "cache" in signature(LlamaForCausalLM.forward).parameters else "past_key_values"  # before 5.24
WORDS = ["talk", "like", "a", "pirate", "robot"]
PROMPTS = [[2, 17, 99, 4, 250, 3, 8], [2, 5, 6]]
CONCEPT = "talk like a pirate"


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index + 10 for index, word in enumerate(WORDS)} | {"[UNK]": 3}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")


def cut_logits(
    model: PreTrainedModel, flow: Flow, tokenizer: PreTrainedTokenizerFast, flow_time: float, tokens: torch.Tensor
) -> torch.Tensor:
    base = from_transformers(model)
    concept = make_encoder(base, flow, tokenizer).encode(CONCEPT)
    steering = Steering(flow.field, [((concept, 1.0),)] * len(PROMPTS), [flow_time] * len(PROMPTS), EULER, 3)
    batch = LaneBatch(base, LAYER, steering, PROMPTS)
    return torch.stack([batch.read_prompts(), *(batch.advance(step) for step in tokens)], dim=1)


def hooked_logits(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """The same lanes as transformers runs them: left-padded, cached, one token at a time."""
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(ids, attention_mask=mask, position_ids=positions, use_cache=True)
    logits = [out.logits[:, -1]]
    for step in tokens:
        mask = torch.cat([mask, torch.ones(len(PROMPTS), 1, dtype=mask.dtype)], dim=1)
        positions = positions[:, -1:] + 1
        out = model(
            step[:, None],
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{CACHE: out[CACHE]},
        )
        logits.append(out.logits[:, -1])
    return torch.stack(logits, dim=1)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_hooked_equals_cut(family: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_transformers_model(family)
    flow = tiny_flow(from_transformers(model).architecture, layer=LAYER, num_blocks=2)
    tokens = torch.tensor([[9, 30], [40, 41], [50, 51]])
    with steered(model, tokenizer, flow, CONCEPT, 1.5):
        hooked = hooked_logits(model, tokens)
    cut = cut_logits(model, flow, tokenizer, 1.5, tokens)
    torch.testing.assert_close(hooked, cut, atol=ROUNDING, rtol=ROUNDING)


@torch.inference_mode()
def test_generate_is_steered_inside_the_block_and_plain_outside(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_transformers_model("llama")
    flow = tiny_flow(from_transformers(model).architecture, layer=LAYER)
    ids = torch.tensor(PROMPTS[:1])

    def generate() -> list[int]:
        return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[0].tolist()

    plain = generate()
    with steered(model, tokenizer, flow, CONCEPT, 2.0):
        inside = generate()
        again = generate()
    assert inside == again != plain
    assert generate() == plain
    with steered(model, tokenizer, flow, CONCEPT, 0.0):
        assert generate() == plain


def test_the_hook_is_removed_whatever_happens_inside(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_transformers_model("gemma3")
    flow = tiny_flow(from_transformers(model).architecture, layer=LAYER, disable_self_attn=True)
    with pytest.raises(ZeroDivisionError), steered(model, tokenizer, flow, CONCEPT, 1.0):
        raise ZeroDivisionError
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@torch.inference_mode()
def test_a_flow_is_loaded_from_its_folder_and_takes_a_mix(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = tiny_transformers_model("llama")
    flow = tiny_flow(from_transformers(model).architecture, layer=LAYER)
    write_flow(tmp_path, "tiny", flow.config, flow.field)
    mix = [WeightedConcept(text=CONCEPT), WeightedConcept(text="robot", weight=-0.5)]
    tokens = torch.empty(0, 2, dtype=torch.long)
    with steered(model, tokenizer, tmp_path, mix, 1.0):
        from_folder = hooked_logits(model, tokens)
    with steered(model, tokenizer, flow, mix, 1.0):
        loaded = hooked_logits(model, tokens)
    assert torch.equal(from_folder, loaded)


def test_a_flow_of_another_base_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    flow = tiny_flow(from_transformers(tiny_transformers_model("gemma2")).architecture, layer=LAYER)
    write_flow(tmp_path, "tiny", flow.config, flow.field)
    qwen3 = tiny_transformers_model("qwen3")
    with pytest.raises(CheckpointError, match="q_norm"), steered(qwen3, tokenizer, tmp_path, CONCEPT, 1.0):
        pytest.fail("the block must not be entered")


def test_masks_it_cannot_read_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_transformers_model("llama")
    flow = tiny_flow(from_transformers(model).architecture, layer=LAYER)
    ids = torch.tensor(PROMPTS[:1])
    with steered(model, tokenizer, flow, CONCEPT, 1.0), pytest.raises(RequestError, match="usual attention mask"):
        model(ids, attention_mask=torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool))
