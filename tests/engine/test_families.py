"""Each family's layers against transformers' own model, in float32, on small random models."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch
from tiny import FAMILY_NAMES, tiny_config, tiny_transformers_model
from transformers import Gemma3Config

from flas_engine.base import assemble, from_transformers, load_base, load_config, open_state
from flas_engine.batch import LaneBatch
from flas_engine.errors import ModelError
from flas_engine.families import find_family, read_architecture
from flas_engine.kernels.layout import PACKED, PLAIN
from flas_engine.prompt_passes import CHUNK_TOKENS

if TYPE_CHECKING:
    from pathlib import Path

ROUNDING = 2e-5  # float32 sums taken in another order; the logits are of order 1 to 10
PROMPTS = [[2, 17, 99, 4, 250], [2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [2, 201, 33]]

LAYOUT = PLAIN
"""The layout that the test under way gives the weights."""


@pytest.fixture(params=[PLAIN, PACKED], autouse=True)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test over both layouts of the weights."""
    monkeypatch.setattr(sys.modules[__name__], "LAYOUT", request.param)


def plain_logits(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_baseline_lanes_give_the_logits_of_transformers(family: str) -> None:
    model = tiny_transformers_model(family)
    batch = LaneBatch(from_transformers(model, layout=LAYOUT), None, None, PROMPTS)
    texts = [list(prompt) for prompt in PROMPTS]
    logits = batch.read_prompts()
    for position in range(12):  # past the sliding window
        expected = torch.stack([plain_logits(model, text)[-1] for text in texts])
        torch.testing.assert_close(logits, expected, atol=ROUNDING, rtol=ROUNDING)
        tokens = torch.tensor([(7 * position + 31 * lane) % 256 for lane in range(len(PROMPTS))])
        for text, token in zip(texts, tokens.tolist(), strict=True):
            text.append(token)
        logits = batch.advance(tokens)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_a_prompt_read_in_pieces_gives_the_logits_of_one_read_whole(family: str) -> None:
    model = tiny_transformers_model(family, max_position_embeddings=2 * CHUNK_TOKENS)
    ids = [(13 * position) % 256 for position in range(CHUNK_TOKENS + 40)]
    logits = LaneBatch(from_transformers(model, layout=LAYOUT), None, None, [ids, ids[:7]]).read_prompts()
    torch.testing.assert_close(logits[0], plain_logits(model, ids)[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[1], plain_logits(model, ids[:7])[-1], atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
@torch.inference_mode()
def test_attention_biases_are_read(family: str) -> None:
    model = tiny_transformers_model(family, attention_bias=True)
    logits = LaneBatch(from_transformers(model, layout=LAYOUT), None, None, PROMPTS[:1]).read_prompts()
    torch.testing.assert_close(logits[0], plain_logits(model, PROMPTS[0])[-1], atol=ROUNDING, rtol=ROUNDING)


@torch.inference_mode()
def test_a_saved_model_loads_to_the_same_logits(tmp_path: Path) -> None:
    model = tiny_transformers_model("llama")
    model.save_pretrained(tmp_path, max_shard_size="100KB")  # several shards and an index
    assert (tmp_path / "model.safetensors.index.json").exists()
    base = load_base(tmp_path, load_config(tmp_path), torch.device("cpu"), torch.float32)
    logits = LaneBatch(base, None, None, PROMPTS[:1]).read_prompts()
    torch.testing.assert_close(logits[0], plain_logits(model, PROMPTS[0])[-1], atol=ROUNDING, rtol=ROUNDING)


@torch.inference_mode()
def test_a_multimodal_gemma3_is_read_through_its_text_config() -> None:
    inner = tiny_transformers_model("gemma3")
    config = Gemma3Config(text_config=tiny_config("gemma3").to_dict())
    architecture = read_architecture(config)
    # The multimodal checkpoints nest the decoder; a tower of another name beside it is not the engine's business.
    state = {
        f"model.language_{name}": tensor for name, tensor in inner.state_dict().items() if name != "lm_head.weight"
    }
    state["model.vision_tower.patch.weight"] = torch.zeros(1)
    base = assemble(open_state(state, "nested"), architecture, torch.device("cpu"), torch.float32)
    logits = LaneBatch(base, None, None, PROMPTS[:1]).read_prompts()
    torch.testing.assert_close(logits[0], plain_logits(inner, PROMPTS[0])[-1], atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_half_precision_rounds_as_transformers_rounds(family: str) -> None:
    model = tiny_transformers_model(family).to(torch.bfloat16)
    ours = LaneBatch(from_transformers(model, layout=LAYOUT), None, None, PROMPTS[1:2]).read_prompts()[0]
    theirs = plain_logits(model, PROMPTS[1])[-1].float()
    exact = plain_logits(model.float(), PROMPTS[1])[-1]
    # Both are off the exact logits by rounding; ours must not be further off than theirs by more than rounding again.
    assert (ours - exact).abs().max() <= 2 * (theirs - exact).abs().max() + 0.02


def test_every_missing_and_misshapen_weight_is_named() -> None:
    model = tiny_transformers_model("llama")
    state = dict(model.state_dict())
    del state["model.layers.1.mlp.up_proj.weight"]
    state["model.layers.0.self_attn.q_proj.weight"] = torch.zeros(3, 64)
    architecture = read_architecture(model.config)
    with pytest.raises(ModelError) as caught:
        assemble(open_state(state, "broken"), architecture, torch.device("cpu"), torch.float32)
    message = str(caught.value)
    assert "layers.1.mlp.up_proj.weight is missing" in message
    assert "layers.0.self_attn.q_proj.weight is [3, 64] and should be [64, 64]" in message


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"'gpt2' is not supported.*gemma2.*llama.*qwen3"):
        find_family("gpt2")


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "spiral"])
def test_rotary_schemes_that_change_with_length_or_are_unknown_are_refused(kind: str) -> None:
    config = tiny_config("llama")
    config.rope_parameters = {"rope_type": kind, "rope_theta": 10_000.0, "factor": 2.0}
    with pytest.raises(ModelError, match=f"'{kind}' is not supported"):
        read_architecture(config)
