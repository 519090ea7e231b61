"""A flow checkpoint's `config.json`: what it says, checked; no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flas_engine.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

PROMPT_FORMATS = ("chat", "alpaca")


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The fields of a released flow's `config.json` that matter; names are fixed by the released files."""

    model_id: str
    """The base model's Hub repository."""
    layer: int
    """The decoder layer whose output the flow moves."""
    num_blocks: int = 1
    n_steps: int = 3
    """Solver steps over [0, T]."""
    T_min: float = 0.5
    T_max: float = 2.0
    """Flow times seen in training."""
    concept_max_len: int = 64
    """Concept texts are cut to this many tokens."""
    disable_cross_attn: bool = False
    disable_self_attn: bool = False
    disable_mlp: bool = False
    prompt_format: str = "chat"
    coordinates: str | None = None
    """`standardised` or None: whether the field lives in z = (h - h_mean) / h_scale."""
    other: dict[str, Any] = field(default_factory=dict)
    """Fields that mean nothing to us, kept for writing."""

    def __post_init__(self) -> None:
        self._require(self.layer >= 0, "layer", self.layer, "0 or more")
        self._require(self.num_blocks >= 1, "num_blocks", self.num_blocks, "1 or more")
        self._require(self.n_steps >= 1, "n_steps", self.n_steps, "1 or more")
        self._require(self.concept_max_len >= 1, "concept_max_len", self.concept_max_len, "1 or more")
        self._require(
            self.prompt_format in PROMPT_FORMATS, "prompt_format", self.prompt_format, " or ".join(PROMPT_FORMATS)
        )
        self._require(
            self.coordinates in (None, "standardised"), "coordinates", self.coordinates, "standardised or absent"
        )

    @staticmethod
    def _require(condition: bool, name: str, value: object, allowed: str) -> None:
        if not condition:
            raise CheckpointError(f"the flow's config.json says {name} {value!r}; it must be {allowed}")


_TYPES: dict[str, type | tuple[type, ...]] = {
    "model_id": str,
    "layer": int,
    "num_blocks": int,
    "n_steps": int,
    "T_min": (int, float),
    "T_max": (int, float),
    "concept_max_len": int,
    "disable_cross_attn": (bool, int),
    "disable_self_attn": (bool, int),
    "disable_mlp": (bool, int),
    "prompt_format": str,
    "coordinates": str,
}


def read_flow_config(path: Path) -> FlowConfig:
    """Read `config.json` beside a flow; raises `CheckpointError` naming the field that is missing or wrong."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; a flow checkpoint is a config.json beside its tensors") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); download the flow again") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} is not a JSON object; download the flow again")
    known: dict[str, Any] = {}
    for name, kind in _TYPES.items():
        value = raw.pop(name, None)
        if value is None:  # absent or null: the default
            continue
        if not isinstance(value, kind):
            raise CheckpointError(f"{path} says {name} {value!r}, which is of the wrong type; download the flow again")
        known[name] = bool(value) if name.startswith("disable_") else value
    if "layer" not in known:
        raise CheckpointError(f"{path} names no layer; it is not the config of a flow checkpoint")
    known.setdefault("model_id", "")  # files made by hand: the base is then given by the caller
    return FlowConfig(**known, other=raw)


def write_flow_config(path: Path, config: FlowConfig) -> None:
    """Write `config` as JSON, fields that we do not know included."""
    fields = {name: getattr(config, name) for name in _TYPES}
    if fields["coordinates"] is None:
        del fields["coordinates"]
    path.write_text(json.dumps(fields | config.other, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
