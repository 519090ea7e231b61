"""A model config without the class of its family, where `config.json` leaves that class nothing to fill in.

transformers' module of Llama's config brings in kernels, generation and torch's compiler: more than a second. Any other
family's scans a thousand files first. A config that transformers 5 wrote, as a converted model's, needs neither.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig

_SIZES = (
    *("hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings", "head_dim"),
    *("num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
)
_LLAMA = {*_SIZES, "rms_norm_eps", "attention_bias", "tie_word_embeddings", "eos_token_id"}
_FIELDS = {
    "llama": {*_LLAMA, "hidden_act", "mlp_bias"},
    "gemma3_text": {
        *(*_LLAMA, "hidden_activation", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"),
        *("layer_types", "sliding_window"),
    },
}
"""By model type, what `families` reads of a config and the class has a default for."""


def read_plain_config(folder: Path) -> PretrainedConfig | None:
    """Read `config.json`; None where its family's class has to: something is missing, or is not as it should be."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(settings, dict) or not _is_spelt_out(settings):
        return None
    return cast("PretrainedConfig", SimpleNamespace(**settings))  # attributes are all that is read of a config


def _is_spelt_out(settings: dict[str, Any]) -> bool:
    fields, rotary = _FIELDS.get(str(settings.get("model_type"))), settings.get("rope_parameters")
    if fields is None or not fields <= settings.keys() or not isinstance(rotary, dict):
        return False
    kinds = [rotary] if "rope_type" in rotary else [rotary.get(f"{kind}_attention") for kind in ("full", "sliding")]
    return (
        all(isinstance(kind, dict) and kind.get("rope_type") == "default" and "rope_theta" in kind for kind in kinds)
        and all(isinstance(settings[name], int) for name in _SIZES)
        and not settings.get("use_bidirectional_attention")
    )
