"""A package with a tiny GGUF model in it, so that a conversion is real and takes no time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import gguf
import numpy as np

from flas_engine.hub.catalog import DEMO, EmbeddedData

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.hub.catalog import CatalogEntry

HIDDEN, INTERMEDIATE, HEADS, VOCABULARY = 32, 64, 4, 258


def write_tiny_gguf(path: Path) -> dict[str, np.ndarray]:
    """Write a llama of one layer, quantised to 8 bits; returns what its tensors hold once unpacked, by GGUF name."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    _add_tokenizer(writer)
    unpacked = {}
    for number, (name, shape) in enumerate(_shapes().items()):
        values = np.random.default_rng(number).standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values)
            unpacked[name] = values
        else:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            unpacked[name] = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return unpacked


@dataclass(frozen=True, kw_only=True)
class TinyPackage:
    """An installed package that carries a model, and its catalog entry."""

    entry: CatalogEntry
    file: Path
    unpacked: dict[str, np.ndarray]


def make_package(site: Path, name: str) -> TinyPackage:
    """Install a package called `name`, whose code must never run, into the folder `site`."""
    folder = site / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('nobody may import this')\n")
    file = folder / "tiny.gguf"
    unpacked = write_tiny_gguf(file)
    data = EmbeddedData(
        parts=((name, "tiny.gguf"),),
        distribution=name,
        install=f"pip install {name}",
        sha256=None,
        is_terms_shown=False,
    )
    entry = replace_demo(name, data)
    return TinyPackage(entry=entry, file=file, unpacked=unpacked)


def replace_demo(name: str, data: EmbeddedData) -> CatalogEntry:
    """An entry like the demo's with other data."""
    return replace(DEMO, name=name, base=f"tiny/{name}", embedded=data, base_bytes=1_000_000)


def _shapes() -> dict[str, tuple[int, ...]]:
    square = (HIDDEN, HIDDEN)
    return {
        "token_embd.weight": (VOCABULARY, HIDDEN),
        "output_norm.weight": (HIDDEN,),
        "blk.0.attn_norm.weight": (HIDDEN,),
        "blk.0.attn_q.weight": square,
        "blk.0.attn_k.weight": square,
        "blk.0.attn_v.weight": square,
        "blk.0.attn_output.weight": square,
        "blk.0.ffn_norm.weight": (HIDDEN,),
        "blk.0.ffn_gate.weight": (INTERMEDIATE, HIDDEN),
        "blk.0.ffn_up.weight": (INTERMEDIATE, HIDDEN),
        "blk.0.ffn_down.weight": (HIDDEN, INTERMEDIATE),
    }


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """Bytes as tokens, and one merge: the reader derives digits and spaces from the SmolLM kind of splitting."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, "ĠĠ", "<|end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([*[1] * (len(tokens) - 1), 3])
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_unk_token_id(len(tokens) - 1)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
