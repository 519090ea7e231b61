"""How fast training reads tokens, and how much memory it takes, against the plain recipe: a process of its own each.

The plain recipe runs transformers' whole model forward in every update, with the field in a hook after layer l; takes
full-vocabulary logits at all positions; forms batches in random order, padded to their longest row; and encodes the
concepts anew. Ours is measured as it is by default, and with logits for the data's vocabulary alone. All train the same
field on the same rows in the same dtype. Run as a program, this module is the process that is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.benchmark.memory import IDLE_PROGRAM, peak_bytes
from flas_engine.benchmark.report import BenchmarkError
from flas_engine.info import LoadSpec

if TYPE_CHECKING:
    from flas_engine.training.prepare import Prepared

BATCH_SIZE, BATCHES_A_ROUND = 8, 6
"""Three rounds have rows enough for those of like length to meet in a batch, as in any corpus."""
NUM_EPOCHS = 2
"""Of ours; the plain recipe keeps nothing for a second one."""
PROMPT_TOKENS, OUTPUT_TOKENS = (16, 56), (8, 72)
"""Least and most of a row; drawn evenly, by seed."""
CONCEPTS = ("talk like a pirate", "talk about robots", "write in capital letters", "mention the sea", "be brief")
SAMPLED_WORDS = 16384
"""Beside those of the rows: as many words in all as a corpus of tens of thousands of rows has."""
PLAIN_RECIPE, OURS, OURS_ON_ITS_WORDS = "plain recipe", "flas-tui train", "flas-tui train --vocabulary data"


@dataclass(frozen=True, kw_only=True)
class TrainingSpeed:
    """What one way to train took. Tokens are output tokens, which the loss reads."""

    name: str
    first_epoch_tokens_per_second: float
    """While activations at the layer are computed and kept."""
    tokens_per_second: float
    """In the epochs after it."""
    peak_bytes: int
    """Above an idle interpreter's, which imports torch and transformers."""


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """The ways to train, measured one after the other."""

    plain: TrainingSpeed
    ours: TrainingSpeed
    ours_on_its_words: TrainingSpeed


def measure_training(spec: LoadSpec, *, num_rounds: int) -> TrainingReport:
    """Measure the plain recipe and ours on more rows the more rounds; raises `BenchmarkError` when one fails."""
    idle_bytes = _run("-c", IDLE_PROGRAM)
    measured = []
    for name in (PLAIN_RECIPE, OURS, OURS_ON_ITS_WORDS):
        taken = _run("-m", "flas_engine.benchmark.training", json.dumps(asdict(spec)), name, str(num_rounds))
        taken["peak_bytes"] -= 0 if taken.pop("is_on_cuda") else idle_bytes
        measured.append(TrainingSpeed(name=name, **taken))
    plain, ours, ours_on_its_words = measured
    return TrainingReport(plain=plain, ours=ours, ours_on_its_words=ours_on_its_words)


def _run(*arguments: str) -> Any:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError("training cannot be measured: " + done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout.rpartition("\n")[0].rpartition("\n")[2] or done.stdout)


def _measure(spec: LoadSpec, name: str, num_batches: int) -> dict[str, Any]:
    """Be the process that is measured."""
    prepared = _prepare(spec, num_batches, vocabulary="data" if name == OURS_ON_ITS_WORDS else "full")
    update = _plain_update(prepared, spec) if name == PLAIN_RECIPE else _our_update(prepared)
    update(0)  # warms up; ours keeps these rows' activations early
    rates = []
    for epoch in range(1 if name == PLAIN_RECIPE else NUM_EPOCHS):
        started = time.perf_counter()
        num_tokens = sum(update(number) for number in range(epoch * num_batches, (epoch + 1) * num_batches))
        rates.append(num_tokens / (time.perf_counter() - started))
    return {
        "first_epoch_tokens_per_second": rates[0],
        "tokens_per_second": rates[-1],
        "peak_bytes": peak_bytes(prepared.base.device),
        "is_on_cuda": prepared.base.device.type == "cuda",
    }


def _prepare(spec: LoadSpec, num_batches: int, *, vocabulary: str) -> Prepared:
    """Load the base as `flas-tui train` does, with rows of random tokens, whose values no time depends on."""
    import random

    from flas_engine.allocator import keep_freed_memory
    from flas_engine.base import load_base, load_config
    from flas_engine.benchmark.subject import base_path
    from flas_engine.kernels.layout import PLAIN
    from flas_engine.machine import choose_device, choose_dtype
    from flas_engine.tokenizer import load_tokenizer
    from flas_engine.training.batches import BatchPlan
    from flas_engine.training.examples import Example
    from flas_engine.training.prepare import Prepared
    from flas_engine.training.recipe import DataSource, Recipe, flow_config
    from flas_engine.training.split import Split
    from flas_engine.training.threads import limit_threads

    limit_threads()
    keep_freed_memory()
    device, path = choose_device(spec.device), base_path(spec)
    dtype, config = choose_dtype(None, device), load_config(path)
    base = load_base(path, config, device, dtype, layout=PLAIN)
    draw = random.Random("rows of the benchmark")

    def ids(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(base.architecture.vocab_size) for _ in range(draw.randint(least, most)))

    examples = tuple(
        Example(
            row=number,
            prompt_ids=ids(*PROMPT_TOKENS),
            output_ids=ids(*OUTPUT_TOKENS),
            concepts=(CONCEPTS[number % len(CONCEPTS)],),
            concept_id=CONCEPTS[number % len(CONCEPTS)],
        )
        for number in range(BATCH_SIZE * num_batches)
    )
    recipe = Recipe(
        base=str(path),
        data=(DataSource(path="rows of the benchmark"),),
        layer=base.architecture.num_layers * 2 // 3,
        self_attention=False,
        batch_size=BATCH_SIZE,
        accumulation=1,
        epochs=NUM_EPOCHS,
        activations="memory",
        activation_gigabytes=1.0,
        vocabulary=vocabulary,
        sampled_words=SAMPLED_WORDS,
    )
    return Prepared(
        recipe=recipe,
        base=base,
        base_id=str(path),
        tokenizer=load_tokenizer(path),
        end_ids=frozenset(),
        config=flow_config(recipe, str(path), "chat"),
        name="benchmark",
        compute_dtype=dtype,
        sources=(),
        split=Split(train=tuple(range(len(examples))), validation=(), held_out_concepts=()),
        examples=examples,
        held_out=(),
        held_out_rows=(),
        left_out=(),
        plan=BatchPlan(examples, [1.0] * len(examples), recipe),
        validation=[],
    )


def _our_update(prepared: Prepared) -> Any:
    from flas_engine.training.run import make_accelerator
    from flas_engine.training.trainer import Trainer

    accelerator, _ = make_accelerator(prepared.recipe)
    trainer = Trainer(prepared, accelerator, Path())
    return lambda number: trainer.update(number).num_tokens


def _plain_update(prepared: Prepared, spec: LoadSpec) -> Any:
    import random

    import torch
    from torch.nn import functional as F
    from transformers import AutoModelForCausalLM

    from flas_engine.benchmark.subject import base_path
    from flas_engine.training.feed import ConceptStates
    from flas_engine.training.flow_map import carry
    from flas_engine.training.initialise import make_field
    from flas_engine.training.trunk import window_of

    base, recipe, dtype = prepared.base, prepared.recipe, prepared.compute_dtype
    model: Any = AutoModelForCausalLM.from_pretrained(base_path(spec), dtype=dtype)
    model.to(base.device).eval().requires_grad_(False)
    field = make_field(base, prepared.config, from_base=True, seed=0)
    optimiser = torch.optim.AdamW(field.parameters(), lr=recipe.learning_rate)
    carried: dict[str, Any] = {}

    def steer(module: Any, args: Any, output: Any) -> Any:
        del module, args
        h_BLD = output[0] if isinstance(output, tuple) else output
        window = window_of(base, h_BLD.shape[1], dtype)
        steered = carry(field, h_BLD.float(), carried["concepts"], carried["flow_time"], 3, window, compute_dtype=dtype)
        h_BLD = steered.h_BLD.to(h_BLD.dtype)
        return (h_BLD, *output[1:]) if isinstance(output, tuple) else h_BLD

    model.get_decoder().layers[recipe.layer].register_forward_hook(steer)
    order = random.Random(0).sample(range(len(prepared.examples)), len(prepared.examples))

    def update(number: int) -> int:
        first = number * BATCH_SIZE
        rows = [prepared.examples[row] for row in order[first : first + BATCH_SIZE]]
        width = max(row.num_tokens for row in rows)
        ids, labels = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
        for index, row in enumerate(rows):
            ids[index, : row.num_tokens] = torch.tensor([*row.prompt_ids, *row.output_ids])
            labels[index, len(row.prompt_ids) : row.num_tokens] = torch.tensor(row.output_ids)
        concepts = ConceptStates(base, prepared.tokenizer, recipe.concept_max_len)
        carried.update(concepts=[concepts.get(row.concepts[0]) for row in rows], flow_time=1.0)
        mask = (torch.arange(width) < torch.tensor([row.num_tokens for row in rows])[:, None]).long()
        logits = model(ids.to(base.device), attention_mask=mask.to(base.device), use_cache=False).logits
        targets = labels[:, 1:].flatten().to(base.device)
        F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets).backward()
        torch.nn.utils.clip_grad_norm_(field.parameters(), recipe.clip)
        optimiser.step()
        optimiser.zero_grad()
        return sum(len(row.output_ids) for row in rows)

    return update


if __name__ == "__main__":
    spec, name, num_rounds = sys.argv[1:]
    measured = _measure(LoadSpec(**json.loads(spec)), name, int(num_rounds) * BATCHES_A_ROUND)
    print(json.dumps(measured))  # noqa: T201
