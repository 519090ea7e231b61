"""Training runs small enough for a test: a random model on the disk, a file of rows, and a recipe for both."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from byte_tokenizer import CHATML, byte_tokenizer
from tiny import tiny_transformers_model

from flas_engine.training.recipe import make_recipe

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from flas_engine.training.recipe import Recipe

LAYER = 2
CONCEPTS = {"sea": ("the sea", "ships and sails"), "robots": ("robots",), "cats": ("cats", "a cat"), "tea": ("tea",)}
WORDS = ("bird", "hand", "rain", "town", "little", "quiet", "falling", "nobody", "minds", "worth", "two", "of")


def write_base(folder: Path, family: str = "llama") -> Path:
    """Save a tiny model and a tokenizer with a token a byte, as a Hub repository would hold them."""
    model = tiny_transformers_model(family, vocab_size=288)
    model.save_pretrained(folder)
    byte_tokenizer(CHATML, bos=None, eos="<|im_end|>").save_pretrained(folder)
    return folder


def write_rows(path: Path, count: int = 40, seed: int = 0) -> Path:
    """Write rows of short texts under four concepts, as JSON lines."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            key = draw.choice(sorted(CONCEPTS))
            row = {
                "input": " ".join(draw.sample(WORDS, 2)),
                "output": " ".join(draw.sample(WORDS, draw.randrange(1, 5))),
                "concepts": list(CONCEPTS[key]),
                "concept_key": key,
                "number": number,
            }
            file.write(json.dumps(row) + "\n")
    return path


def tiny_recipe(base: Path, *data: Path, **overrides: Any) -> Recipe:
    """Return a recipe of a few small updates on the CPU in float32."""
    values: dict[str, Any] = {
        "base": str(base),
        "data": [{"path": str(path)} for path in data],
        "layer": LAYER,
        "self_attention": False,
        "batch_size": 4,
        "accumulation": 2,
        "updates": 6,
        "learning_rate": 1e-2,
        "held_out_rows": 6,
        "validation_rows": 6,
        "validate_every": 3,
        "samples": 0,
        "device": "cpu",
        "dtype": "float32",
    }
    return make_recipe(values | overrides)


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a flow's folder."""
    from safetensors.torch import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)
