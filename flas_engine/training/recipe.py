"""What a training run does, in plain data: everything that its result depends on, and how it is written down.

Defaults are the paper's recipe. A recipe is one TOML file; unknown keys and bad values are refused by name. Imports
nothing heavy.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from flas_engine.config import PROMPT_FORMATS, FlowConfig
from flas_engine.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FREE_ON_RESUME = frozenset({"device", "activations", "activation_gigabytes", "keep", "samples", "save_minutes"})
"""What may differ when a run goes on: none of it changes what is learned from then on."""
DTYPES = ("bfloat16", "float16", "float32")
STORES = ("none", "memory", "disk")
VOCABULARIES = ("full", "data")


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A file or folder of rows, and how often an epoch sees each of them: 2 is twice, 0.5 a random half."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run. Counts of rows and updates are of all processes together."""

    base: str
    """Catalog name, Hub repository or folder of the base model."""
    data: tuple[DataSource, ...]
    name: str = ""
    """Of the flow; `flas-` and the base's name unless given."""
    # The flow.
    layer: int = 20
    blocks: int = 1
    self_attention: bool = True
    cross_attention: bool = True
    mlp: bool = True
    num_steps: int = 3
    flow_time_min: float = 0.5
    flow_time_max: float = 2.0
    standardised: bool = False
    """Whether the field lives in coordinates with mean 0 and scale 1, measured on the training rows."""
    init_from_base: bool = True
    """Whether self-attention, MLP and norms begin as copies of the base's layer."""
    init_flow: str = ""
    """A trained flow to begin with instead: catalog name, Hub repository or path. Its shape is the recipe's too."""
    # The rows.
    prompt_format: str = ""
    """`chat` or `alpaca`; unless given that of a listed base, else chat where the tokenizer has a template."""
    max_len: int = 256
    """Tokens of a prompt with its output; longer rows are left out."""
    concept_max_len: int = 64
    held_out_concepts: int = 0
    """How many whole concepts are kept for validation, drawn by seed."""
    held_out_file: str = ""
    """A file with the concepts to keep instead: a concept_id a line."""
    held_out_rows: int = 100
    """How many rows of the trained concepts are kept for validation, drawn by seed."""
    seed: int = 0
    # Optimisation.
    updates: int = 0
    """0: as many as `epochs` make."""
    epochs: float = 1.0
    batch_size: int = 4
    """Rows of a micro-batch."""
    accumulation: int = 8
    """Micro-batches of an update; processes share them."""
    learning_rate: float = 5e-5
    gate_rate: float = 1.0
    """Factor on the learning rate of gates and norms."""
    weight_decay: float = 0.01
    warmup: int = 2000
    """Updates until the full learning rate; a tenth of the run at most."""
    clip: float = 1.0
    """Largest norm of an update's gradient."""
    diversity: float = 0.1
    """Weight of the mean cosine similarity between velocities of different concepts."""
    contrast: float = 0.0
    """Weight of softplus(-beta (nll_wrong - nll_right)) over another row's concept."""
    contrast_beta: float = 5.0
    vocabulary: str = "full"
    """`data`: logits in training for words that occur in the outputs, and `sampled_words` others, alone."""
    sampled_words: int = 4096
    # Validation.
    validate_every: int = 500
    validation_rows: int = 100
    patience: int = 30
    """Validations without a better one until training stops; 0 never stops."""
    keep: int = 3
    """Best checkpoints kept, beside the last."""
    samples: int = 2
    """Texts written at every validation."""
    save_minutes: float = 10.0
    """How much work a kill may cost at most; the state is also saved at every validation."""
    # The machine.
    device: str = ""
    dtype: str = ""
    """Of products: `bfloat16`, `float16` or `float32`; the machine's best unless given. Weights stay float32."""
    recompute: bool = False
    """Whether the way back computes layers again instead of keeping what they made (gradient checkpointing)."""
    activations: str = "none"
    """Where activations at the layer are kept over epochs: `none`, `memory` or `disk`."""
    activation_gigabytes: float = 4.0
    save_dtype: str = "bfloat16"
    """Of the flow's tensors in checkpoints."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most or value == _ANY:
                finite = ", and finite" if value == _ANY else ""
                allowed = f"{least:g} or more{finite}" if most == _ANY else f"{least:g} to {most:g}"
                raise TrainingError(f"the recipe's {name} is {value!r}; it must be {allowed}")
        for name, words in _CHOICES.items():
            if getattr(self, name) not in words:
                allowed = ", ".join(word for word in words if word)
                raise TrainingError(f"the recipe's {name} is {getattr(self, name)!r}; choose one of {allowed}")
        if not self.base:
            raise TrainingError("no base model is named; give --base demo, a Hub repository or a folder")
        if not self.data:
            raise TrainingError("no data is named; give --data FOLDER, or --data FILE:WEIGHT, once or several times")
        if not (self.cross_attention or self.self_attention or self.mlp):
            raise TrainingError("the recipe leaves the flow without any part; keep at least one of its three")
        if self.flow_time_min > self.flow_time_max:
            raise TrainingError(
                f"the recipe's flow_time_min {self.flow_time_min:g} is above flow_time_max {self.flow_time_max:g}"
            )


_ANY = float("inf")
_TINY = 1e-12
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("layer", "held_out_concepts", "held_out_rows", "updates", "warmup", "patience"), (0, _ANY)),
    **dict.fromkeys(("blocks", "num_steps", "batch_size", "accumulation", "validate_every", "keep"), (1, _ANY)),
    **dict.fromkeys(("weight_decay", "diversity", "contrast", "samples", "sampled_words"), (0, _ANY)),
    **dict.fromkeys(("learning_rate", "gate_rate", "clip", "epochs", "contrast_beta"), (_TINY, _ANY)),
    **dict.fromkeys(("validation_rows", "activation_gigabytes", "save_minutes"), (0, _ANY)),
    **dict.fromkeys(("flow_time_min", "flow_time_max"), (0, 8)),
    "max_len": (8, _ANY),
    "concept_max_len": (1, _ANY),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "prompt_format": ("", *PROMPT_FORMATS),
    "dtype": ("", *DTYPES),
    "save_dtype": ("bfloat16", "float32"),
    "activations": STORES,
    "vocabulary": VOCABULARIES,
}
_TYPES = {"str": str, "int": int, "bool": bool, "float": float}


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from plain values, as a TOML file has them; raises `TrainingError` naming what is wrong."""
    known = {field.name: field for field in fields(Recipe)}
    unknown = [name for name in values if name not in known]
    if unknown:
        raise TrainingError(f"the recipe has no {', '.join(sorted(unknown))}; its keys are {', '.join(sorted(known))}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in values]
    checked = {name: _checked(name, str(known[name].type), value) for name, value in values.items()}
    return Recipe(**({"base": "", "data": ()} | checked if missing else checked))


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the values that a TOML file gives; raises `TrainingError` when it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"the recipe {path} is not TOML ({error})") from None


def recipe_text(recipe: Recipe) -> str:
    """Write a recipe as TOML that `read_recipe` and `make_recipe` turn into an equal one."""
    import tomlkit

    document = tomlkit.document()
    for name, value in asdict(recipe).items():
        if name != "data":
            document.add(name, value)
    tables = tomlkit.aot()
    for source in recipe.data:
        tables.append(tomlkit.item(asdict(source)))
    document.add("data", tables)
    return tomlkit.dumps(document)


def shape_of_flow(config: FlowConfig) -> dict[str, Any]:
    """Return the values of a recipe that a flow which goes on learning has decided already."""
    return {
        "layer": config.layer,
        "blocks": config.num_blocks,
        "self_attention": not config.disable_self_attn,
        "cross_attention": not config.disable_cross_attn,
        "mlp": not config.disable_mlp,
        "standardised": config.coordinates is not None,
    }


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Name what two recipes differ in, as far as it changes what is learned: 'learning_rate is 0.1, was 0.2'."""
    return [
        f"{field.name} is {_shown(getattr(new, field.name))}, was {_shown(getattr(old, field.name))}"
        for field in fields(Recipe)
        if field.name not in FREE_ON_RESUME and getattr(old, field.name) != getattr(new, field.name)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{source.path}:{source.weight:g}" for source in value)
    return repr(value)


def _checked(name: str, kind: str, value: Any) -> Any:
    if name == "data":
        return tuple(_source(entry) for entry in _as_list(value))
    expected = _TYPES[kind]
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise TrainingError(f"the recipe's {name} is {value!r}; it must be {_WORDS[kind]}")
    return value


_WORDS = {"str": "text", "int": "a whole number", "bool": "true or false", "float": "a number"}


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise TrainingError(f"the recipe's data is {value!r}; it must be a list of tables with path and weight")
    return list(value)


def _source(entry: Any) -> DataSource:
    if isinstance(entry, DataSource):
        return entry
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or set(entry) - {"path", "weight"}:
        raise TrainingError(f"the recipe's data has {entry!r}; an entry is a path, and a weight if it is not 1")
    weight = entry.get("weight", 1.0)
    if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 < weight < _ANY:
        raise TrainingError(f"the weight of {entry['path']} is {weight!r}; it must be a number above 0")
    return DataSource(path=entry["path"], weight=float(weight))


def flow_config(recipe: Recipe, base_id: str, prompt_format: str) -> FlowConfig:
    """Return the `config.json` of the flow that a recipe trains."""
    return FlowConfig(
        model_id=base_id,
        layer=recipe.layer,
        num_blocks=recipe.blocks,
        n_steps=recipe.num_steps,
        T_min=recipe.flow_time_min,
        T_max=recipe.flow_time_max,
        concept_max_len=recipe.concept_max_len,
        disable_cross_attn=not recipe.cross_attention,
        disable_self_attn=not recipe.self_attention,
        disable_mlp=not recipe.mlp,
        prompt_format=prompt_format,
        coordinates="standardised" if recipe.standardised else None,
    )
