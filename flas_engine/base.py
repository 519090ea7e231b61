"""Read a frozen base model: config and weights, from a folder of safetensors or a GGUF file.

Weights are memory-mapped, laid out, moved and cast one by one, so that the peak is the model and one tensor. Nothing
here knows of flows, lanes or downloads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from flas_engine.errors import ModelError
from flas_engine.families import read_architecture, text_config
from flas_engine.kernels.layout import PACKED, PLAIN, lay_out, laying_out_many
from flas_engine.kernels.native import PlainProduct
from flas_engine.kernels.product import StoredRows
from flas_engine.layers import BaseModel, LayerWeights, NormWeight
from flas_engine.plain_config import read_plain_config
from flas_engine.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from transformers import PretrainedConfig, PreTrainedModel

    from flas_engine.families import Architecture
    from flas_engine.kernels.product import Product, Rows
    from flas_engine.progress import ReportProgress

_EMBEDDING_SUFFIX = "embed_tokens.weight"
REMAP_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """Named tensors that are read when asked for; `prefix` is what stands before `layers.0...` and `embed_tokens`."""

    names: frozenset[str]
    prefix: str
    read: Callable[[str], torch.Tensor]
    read_rows: Callable[[str, slice], torch.Tensor]
    """Some rows alone, which are in memory no longer than they are used."""


def load_config(path: Path) -> PretrainedConfig:
    """Read the transformers config of a model folder or GGUF file; raises `ModelError` when it cannot be read."""
    plain = read_plain_config(path)
    if plain is not None:
        return plain
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        if path.suffix == ".gguf":
            config: PretrainedConfig = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        else:
            config = AutoConfig.from_pretrained(path)
    except StrictDataclassError as error:
        reason = str(error).rpartition("\n")[2].strip()
        raise ModelError(f"{path} has an impossible model config ({reason}); mend its config.json") from None
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path} has no readable model config ({_first_line(error)}); download the model again"
        ) from None
    return config


def load_generation_eos(path: Path, config: PretrainedConfig) -> list[int]:
    """Return the end-of-sequence ids of the generation config, and of the model config."""
    file = path / "generation_config.json"
    sources: list[Any] = [getattr(text_config(config), "eos_token_id", None), getattr(config, "eos_token_id", None)]
    if path.is_dir() and file.exists():
        try:
            sources.append(json.loads(file.read_text(encoding="utf-8")).get("eos_token_id"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{file} cannot be read ({error}); download the model again") from None
    ids: list[int] = []
    for source in sources:
        ids += [source] if isinstance(source, int) else source or []
    return ids


def load_base(
    path: Path,
    config: PretrainedConfig,
    device: torch.device,
    dtype: torch.dtype,
    progress: ReportProgress = ignore_progress,
    layout: str = PACKED,
) -> BaseModel:
    """Read the weights of the model at `path` onto `device`, their products in `layout` (see `kernels`).

    Raises `ModelError` naming what is missing or damaged.
    """
    tensors = _open_gguf(path) if path.suffix == ".gguf" else _open_folder(path)
    with laying_out_many(device, dtype, layout):
        return assemble(tensors, read_architecture(config), device, dtype, progress, layout=layout)


def from_transformers(model: PreTrainedModel, num_layers: int | None = None, layout: str = PLAIN) -> BaseModel:
    """Take the weights of a transformers model, or of its first `num_layers` layers; `plain` shares what it can."""
    state = model.state_dict()
    parameter = next(model.parameters())
    tensors = open_state(state, "the given model")
    architecture = read_architecture(model.config)
    return assemble(tensors, architecture, parameter.device, parameter.dtype, num_layers=num_layers, layout=layout)


def open_state(state: dict[str, torch.Tensor], name: str) -> Tensors:
    """Serve the tensors of a state dict; `name` says whose it is in an error."""
    return Tensors(
        names=frozenset(state),
        prefix=_find_prefix(state, name),
        read=state.__getitem__,
        read_rows=lambda key, rows: state[key][rows],
    )


def assemble(
    tensors: Tensors,
    architecture: Architecture,
    device: torch.device,
    dtype: torch.dtype,
    progress: ReportProgress = ignore_progress,
    num_layers: int | None = None,
    layout: str = PLAIN,
) -> BaseModel:
    """Fuse named tensors into a `BaseModel`; raises `ModelError` naming every missing and every misshapen one."""
    num_layers = architecture.num_layers if num_layers is None else num_layers
    reader = _Reader(tensors, architecture, device, dtype, layout)
    D, V = architecture.hidden_size, architecture.vocab_size
    layers = []
    for index in range(num_layers):
        progress(Progress(activity="reading the weights", done=index, total=num_layers))
        layers.append(_read_layer(reader, f"layers.{index}."))
    final_norm = reader.norm("norm.weight", D)
    if num_layers < architecture.num_layers:  # the concept encoder needs no head
        embedding = reader.weight(_EMBEDDING_SUFFIX, V, D)
        head: Product = PlainProduct(embedding)
    elif architecture.ties_embeddings and (layout == PLAIN or device.type != "cpu"):
        embedding = reader.weight(_EMBEDDING_SUFFIX, V, D)
        head = lay_out(embedding, None, layout)
    elif architecture.ties_embeddings:  # read twice: of the embedding only rows that are looked up stay in memory
        embedding = reader.table(_EMBEDDING_SUFFIX, V, D)
        head = lay_out(reader.rows(_EMBEDDING_SUFFIX, V, D), None, layout)
    else:
        embedding = reader.table(_EMBEDDING_SUFFIX, V, D)
        head = lay_out(reader.read_from(_head_name(tensors), V, D), None, layout)
    reader.raise_problems()
    num_bytes = reader.num_bytes + head.num_bytes
    if not architecture.ties_embeddings:
        num_bytes += embedding.numel() * embedding.element_size()
    return BaseModel(
        architecture=architecture,
        embedding=embedding,
        layers=tuple(layers),
        final_norm=final_norm,
        head=head,
        device=device,
        dtype=dtype,
        layout=layout,
        num_bytes=num_bytes,
    )


def _read_layer(reader: _Reader, prefix: str) -> LayerWeights:
    a = reader.architecture
    D, I, Q, K = a.hidden_size, a.intermediate_size, a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim  # noqa: E741
    attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
    sandwiched = a.family.has_post_norms
    # Llama and Qwen call the norm before the MLP `post_attention_layernorm`; Gemma gives that name to the one that
    # follows the attention.
    before_mlp = "pre_feedforward_layernorm" if sandwiched else "post_attention_layernorm"
    return LayerWeights(
        input_norm=reader.norm(f"{prefix}input_layernorm.weight", D),
        qkv=reader.product(
            [(f"{attention}{x}_proj", size) for x, size in (("q", Q), ("k", K), ("v", K))], D, a.has_attention_bias
        ),
        qk_norm=reader.head_norms(f"{attention}q_norm.weight", f"{attention}k_norm.weight")
        if a.family.has_qk_norm
        else None,
        out=reader.product([(f"{attention}o_proj", D)], Q, a.has_attention_bias),
        post_attention_norm=reader.norm(f"{prefix}post_attention_layernorm.weight", D) if sandwiched else None,
        pre_mlp_norm=reader.norm(f"{prefix}{before_mlp}.weight", D),
        gate_up=reader.product([(f"{mlp}{x}_proj", I) for x in ("gate", "up")], D, a.has_mlp_bias),
        down=reader.product([(f"{mlp}down_proj", D)], I, a.has_mlp_bias),
        post_mlp_norm=reader.norm(f"{prefix}post_feedforward_layernorm.weight", D) if sandwiched else None,
    )


class _Reader:
    """Reads checked tensors one by one, and collects what is wrong so that all of it is named at once."""

    def __init__(
        self, tensors: Tensors, architecture: Architecture, device: torch.device, dtype: torch.dtype, layout: str
    ) -> None:
        self.architecture = architecture
        self.num_bytes = 0
        """Of products and norms read so far."""
        self._tensors = tensors
        self._device = device
        self._dtype = dtype
        self._layout = layout
        self._problems: list[str] = []

    def weight(self, name: str, *shape: int) -> torch.Tensor:
        return self.read_from(self._tensors.prefix + name, *shape)

    def table(self, name: str, *shape: int) -> torch.Tensor:
        """Return a weight whose rows are looked up: in the compute dtype, or as it is stored where that is smaller."""
        return self.read_from(self._tensors.prefix + name, *shape, widens=False)

    def rows(self, name: str, *shape: int) -> Rows:
        """Return a weight that was asked for before, to be read again a few rows at a time."""
        full_name = self._tensors.prefix + name
        if self._problems:
            return self.weight(name, *shape)
        return self._to_lay_out(lambda rows: self._tensors.read_rows(full_name, rows), torch.Size(shape))

    def norm(self, name: str, size: int) -> NormWeight:
        return self._norm_weight(self.weight(name, size))

    def head_norms(self, query_name: str, key_name: str) -> NormWeight:
        """Norm weights of queries and keys, a row a head."""
        a = self.architecture
        query, key = (self.weight(name, a.head_dim) for name in (query_name, key_name))
        return self._norm_weight(torch.stack([query] * a.num_heads + [key] * a.num_kv_heads))

    def product(self, parts: list[tuple[str, int]], in_features: int, has_bias: bool) -> Product:
        """Projections of one input as one product; `parts` are their names and widths."""
        prefix = self._tensors.prefix
        stored = _join([self._stored(f"{prefix}{name}.weight", size, in_features) for name, size in parts])
        biases = [self.weight(f"{name}.bias", size) for name, size in parts] if has_bias else []
        weight = self._to_lay_out(stored.__getitem__, stored.shape)
        product = lay_out(weight, _join(biases) if has_bias else None, self._layout)
        self.num_bytes += product.num_bytes
        return product

    def _norm_weight(self, stored: torch.Tensor) -> NormWeight:
        weight = stored.float() + self.architecture.family.norm_offset
        self.num_bytes += weight.numel() * weight.element_size()
        return NormWeight(weight=weight, epsilon=torch.tensor(self.architecture.norm_epsilon, device=self._device))

    def read_from(self, name: str, *shape: int, widens: bool = True) -> torch.Tensor:
        tensor = self._stored(name, *shape)
        is_kept = not widens and tensor.dtype.itemsize < self._dtype.itemsize
        return tensor.to(device=self._device, dtype=tensor.dtype if is_kept else self._dtype)

    def _stored(self, name: str, *shape: int) -> torch.Tensor:
        """Return a tensor as it is stored, mapped and not in memory yet."""
        if name not in self._tensors.names:
            self._problems.append(f"{name} is missing")
        else:
            tensor = self._tensors.read(name)
            if tuple(tensor.shape) == shape:
                return tensor
            self._problems.append(f"{name} is {list(tensor.shape)} and should be {list(shape)}")
        return torch.zeros((), device=self._device, dtype=self._dtype).expand(shape)  # until `raise_problems`

    def _to_lay_out(self, read: Callable[[slice], torch.Tensor], shape: torch.Size) -> StoredRows:
        return StoredRows(shape=shape, device=self._device, dtype=self._dtype, read=read)

    def raise_problems(self) -> None:
        if self._problems:
            more = f" and {len(self._problems) - 5} more" if len(self._problems) > 5 else ""
            raise ModelError(
                f"the base model's weights do not fit its config: {'; '.join(self._problems[:5])}{more}; "
                "download the model again or choose another"
            )


class _MappedFile:
    """A safetensors file, mapped anew every so many bytes: pages that were read stay resident as long as their map."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = safe_open(path, framework="pt")
        self._num_bytes_read = 0
        self.names = list(self._handle.keys())

    def read(self, name: str) -> torch.Tensor:
        tensor = self._read(name)
        if self._num_bytes_read + _num_bytes(tensor) > REMAP_BYTES:
            self._handle, self._num_bytes_read = safe_open(self._path, framework="pt"), 0
            tensor = self._read(name)
        self._num_bytes_read += _num_bytes(tensor)
        return tensor

    def read_rows(self, name: str, rows: slice) -> torch.Tensor:
        tensor: torch.Tensor = safe_open(self._path, framework="pt").get_slice(name)[rows]
        return tensor

    def _read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._handle.get_tensor(name)  # nothing of it is in memory before it is looked at
        return tensor


def _num_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _join(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _open_folder(folder: Path) -> Tensors:
    """Map the safetensors files of a folder: those that its index lists, else `model.safetensors`, else all."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    try:
        if index.exists():
            files = sorted({folder / name for name in json.loads(index.read_text())["weight_map"].values()})
        else:
            files = [single] if single.exists() else sorted(folder.glob("*.safetensors"))
        if not files:
            raise ModelError(
                f"{folder} holds no *.safetensors weights; choose a folder that does, or download the model"
            )
        mapped = [_MappedFile(file) for file in files]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"the weights in {folder} cannot be read ({_first_line(error)}); download the model again"
        ) from None
    where = {name: file for file in mapped for name in file.names}
    return Tensors(
        names=frozenset(where),
        prefix=_find_prefix(where, str(folder)),
        read=lambda name: where[name].read(name),
        read_rows=lambda name, rows: where[name].read_rows(name, rows),
    )


def _open_gguf(path: Path) -> Tensors:
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True)
        )
    except ImportError:
        raise ModelError(f'reading {path.name} needs the gguf package; run: pip install "flas-tui[demo]"') from None
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read as a GGUF model ({_first_line(error)})") from None
    return open_state(model.state_dict(), str(path))


def _find_prefix(names: Iterable[str], source: str) -> str:
    for name in names:
        if name.endswith(_EMBEDDING_SUFFIX):
            return name.removesuffix(_EMBEDDING_SUFFIX)
    raise ModelError(f"{source} holds no language model: no tensor is called *{_EMBEDDING_SUFFIX}")


def _head_name(tensors: Tensors) -> str:
    candidates = [name for name in tensors.names if name.endswith("lm_head.weight")]
    return candidates[0] if candidates else "lm_head.weight"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
