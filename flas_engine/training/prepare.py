"""Everything that a run needs, loaded and checked before anything is written: data, base model, split, examples.

Raises `FlasError` for whatever is wrong with a recipe, its data or its base.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from flas_engine.base import load_base, load_config, load_generation_eos
from flas_engine.checkpoint import check_layer
from flas_engine.data.published import resolve_source
from flas_engine.data.rows import Source, read_rows
from flas_engine.errors import DataError, TrainingError
from flas_engine.families import read_architecture
from flas_engine.hub.registry import look_up
from flas_engine.hub.resolve import resolve
from flas_engine.info import LoadSpec
from flas_engine.kernels.layout import PLAIN
from flas_engine.machine import choose_dtype
from flas_engine.paths import user_path
from flas_engine.progress import Progress, ignore_progress
from flas_engine.prompts import end_of_turn_ids
from flas_engine.tokenizer import load_tokenizer
from flas_engine.training.batches import BatchPlan
from flas_engine.training.examples import make_examples
from flas_engine.training.recipe import flow_config
from flas_engine.training.sizes import require_memory
from flas_engine.training.split import make_split
from flas_engine.training.validate import HeldOutBatch, plan_validation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from flas_engine.config import FlowConfig
    from flas_engine.data.rows import BadRow, Row
    from flas_engine.layers import BaseModel
    from flas_engine.progress import ReportProgress
    from flas_engine.training.examples import Example
    from flas_engine.training.recipe import Recipe
    from flas_engine.training.split import Split


@dataclass(frozen=True, kw_only=True)
class Data:
    """The rows of all sources in order."""

    rows: tuple[Row, ...]
    weights: tuple[float, ...]
    """How often an epoch sees each row."""
    problems: tuple[BadRow, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that can begin."""

    recipe: Recipe
    base: BaseModel
    base_id: str
    tokenizer: PreTrainedTokenizerBase
    end_ids: frozenset[int]
    config: FlowConfig
    name: str
    """Of the flow."""
    compute_dtype: torch.dtype
    sources: tuple[Source, ...]
    split: Split
    examples: tuple[Example, ...]
    """Those that train."""
    held_out: tuple[Example, ...]
    held_out_rows: tuple[Row, ...]
    """The same, in words."""
    left_out: tuple[BadRow, ...]
    """Rows that do not fit, of the files and of the tokens."""
    plan: BatchPlan
    validation: list[HeldOutBatch]

    @property
    def num_concepts(self) -> int:
        """Of the rows that train."""
        return len({example.concept_id for example in self.examples})


def read_data(recipe: Recipe) -> Data:
    """Read all sources of a recipe; raises `DataError` naming what cannot be read."""
    sets = [(read_rows(Path(source.path)), source.weight) for source in recipe.data]
    sources = tuple(chain.from_iterable(rows.sources for rows, _ in sets))
    paths = [source.path for source in sources]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise DataError(f"{twice} is given more than once; give it once, with a weight: {twice}:2")
    return Data(
        rows=tuple(chain.from_iterable(rows.rows for rows, _ in sets)),
        weights=tuple(chain.from_iterable([weight] * len(rows.rows) for rows, weight in sets)),
        problems=tuple(chain.from_iterable(rows.problems for rows, _ in sets)),
        sources=sources,
    )


def prepare(recipe: Recipe, device: torch.device, progress: ReportProgress = ignore_progress) -> Prepared:
    """Read the data, load the base onto `device`, and work out what will be trained on."""
    progress(Progress(activity="reading the data"))
    data = read_data(recipe)
    split = make_split(data.rows, recipe)
    compute_dtype = choose_compute_dtype(recipe.dtype, device)
    dtype_name = str(compute_dtype).removeprefix("torch.")
    resolved = resolve(LoadSpec(base=recipe.base, device=str(device), dtype=dtype_name), progress=progress)
    model_config = load_config(resolved.base)
    architecture = read_architecture(model_config)
    check_layer(recipe.layer, architecture)
    require_memory(recipe, architecture, device, compute_dtype)
    tokenizer = load_tokenizer(resolved.base)
    entry = look_up(recipe.base)
    of_entry = entry.prompt_format if entry is not None else None
    prompt_format = recipe.prompt_format or of_entry or ("chat" if tokenizer.chat_template else "alpaca")
    progress(Progress(activity="tokenising the rows"))
    places = (data.rows, data.sources, tokenizer, prompt_format, recipe.max_len)
    trained = make_examples(places[0], split.train, *places[1:])
    held_out = make_examples(places[0], split.validation, *places[1:])
    if not trained.examples:
        raise TrainingError(f"no row fits into {recipe.max_len} tokens; raise --max-len")
    weights = [data.weights[example.row] for example in trained.examples]
    config = flow_config(recipe, resolved.base_id, prompt_format)
    base = load_base(resolved.base, model_config, device, compute_dtype, progress, layout=PLAIN)
    return Prepared(
        recipe=recipe,
        base=base,
        base_id=resolved.base_id,
        tokenizer=tokenizer,
        end_ids=end_of_turn_ids(tokenizer, load_generation_eos(resolved.base, model_config)),
        config=config,
        name=recipe.name or f"flas-{resolved.base_id.rstrip('/').rpartition('/')[2].lower()}",
        compute_dtype=compute_dtype,
        sources=data.sources,
        split=split,
        examples=trained.examples,
        held_out=held_out.examples,
        held_out_rows=tuple(data.rows[example.row] for example in held_out.examples),
        left_out=(*data.problems, *trained.problems, *held_out.problems),
        plan=BatchPlan(trained.examples, weights, recipe),
        validation=plan_validation(held_out.examples, recipe.validation_rows, recipe.batch_size, recipe.seed),
    )


def choose_compute_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of products; raises `TrainingError` for one that cannot be trained in on `device`."""
    dtype = choose_dtype(name or None, device)
    if dtype == torch.float16 and device.type != "cuda":
        if name:
            raise TrainingError(f"float16 cannot be trained in on {device}; use bfloat16 or float32")
        return torch.float32
    return dtype


def absolute_paths(recipe: Recipe) -> Recipe:
    """Return the recipe as it means the same from every folder."""
    data = tuple(replace(source, path=str(resolve_source(source.path).absolute())) for source in recipe.data)
    held_out = str(user_path(recipe.held_out_file).absolute()) if recipe.held_out_file else ""
    base, init_flow = (
        str(user_path(name).absolute()) if name and user_path(name).exists() else name
        for name in (recipe.base, recipe.init_flow)
    )
    return replace(recipe, data=data, held_out_file=held_out, base=base, init_flow=init_flow)
