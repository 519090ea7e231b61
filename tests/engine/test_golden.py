"""The engine against numbers that the reference implementation of FLAS produced, in float32.

`golden.json` in each folder says how they were made; they come with the method's description. FLAS_GOLDEN_DIR points
the test at other folders of the same form.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from flas_engine.base import load_base, load_config
from flas_engine.batch import LaneBatch
from flas_engine.checkpoint import read_flow
from flas_engine.concept import encode_tokens
from flas_engine.families import read_architecture
from flas_engine.kernels.layout import PACKED, PLAIN
from flas_engine.solvers import EULER
from flas_engine.steering import Steering

if TYPE_CHECKING:
    from flas_engine.checkpoint import Flow
    from flas_engine.layers import BaseModel, Window

GOLDEN_DIR = Path(os.environ.get("FLAS_GOLDEN_DIR", Path(__file__).parent.parent / "golden"))
GOLDEN = sorted(path.parent for path in GOLDEN_DIR.rglob("golden.safetensors"))
TOLERANCE = 2e-4  # largest difference allowed by the protocol; the engine is within some 1e-6 of the reference
CPU = torch.device("cpu")


class RecordingSteering(Steering):
    """Keeps what layer l hands on after steering, lane by lane, of the prompts."""

    def transform(
        self, h_PLD: torch.Tensor, window: Window, lanes: range | None = None, **functions: Any
    ) -> torch.Tensor:
        steered_PLD = super().transform(h_PLD, window, lanes, **functions)
        if lanes is not None:
            self.steered = getattr(self, "steered", {}) | dict(zip(lanes, steered_PLD, strict=True))
        return steered_PLD


def load_golden(folder: Path, scratch: Path, layout: str) -> tuple[BaseModel, Flow, dict[str, torch.Tensor]]:
    shutil.copy(folder / "flow.safetensors", scratch)
    shutil.copy(folder / "flow_config.json", scratch / "config.json")
    config = load_config(folder)
    base = load_base(folder, config, CPU, torch.float32, layout=layout)
    flow = read_flow(scratch, read_architecture(config), CPU, torch.float32)
    if layout != PLAIN:
        flow.field.freeze(layout)
    return base, flow, load_file(folder / "golden.safetensors")


def lanes_of(golden: dict[str, torch.Tensor]) -> list[list[int]]:
    """The prompts without their left padding: here a position is a slot, and nothing is padded on the left."""
    pairs = zip(golden["prompt_ids"], golden["attention_mask"], strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in pairs]


def test_there_are_golden_folders() -> None:
    assert GOLDEN, f"no golden.safetensors under {GOLDEN_DIR}"


@pytest.mark.parametrize("layout", [PLAIN, PACKED])
@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
@torch.inference_mode()
def test_engine_agrees_with_the_reference(folder: Path, layout: str, tmp_path: Path) -> None:
    base, flow, golden = load_golden(folder, tmp_path, layout)
    concept_hidden = encode_tokens(base, golden["concept_ids"])
    torch.testing.assert_close(concept_hidden, golden["concept_hidden"], atol=TOLERANCE, rtol=0)

    prompts, flow_times = lanes_of(golden), golden["flowtimes"].tolist()
    concept = flow.field.encode_keys_values(concept_hidden[0])
    steering = RecordingSteering(flow.field, [((concept, 1.0),)] * len(prompts), flow_times, EULER, flow.config.n_steps)
    batch = LaneBatch(base, flow.config.layer, steering, prompts)

    logits = [batch.read_prompts()]
    for lane, prompt in enumerate(prompts):
        expected = golden["steered_hidden_prefill"][lane, -len(prompt) :]
        ours = steering.steered[lane][: len(prompt)]
        torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=0)
    logits += [batch.advance(tokens) for tokens in golden["tokens"].unbind(dim=1)]
    torch.testing.assert_close(torch.stack(logits, dim=1), golden["logits"], atol=TOLERANCE, rtol=0)
