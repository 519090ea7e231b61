"""What a product with a frozen weight is, and how its weight is read a part at a time.

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SLAB_BYTES = 32 << 20
"""Large weights are laid out in slabs of rows, so that laying one out never takes twice its memory."""


class Rows(Protocol):
    """A weight [O, I] that is to be computed with on a device in a dtype; every tensor is one."""

    @property
    def shape(self) -> torch.Size: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    def split(self, num_rows: int, /) -> Iterable[torch.Tensor]:
        """Give the rows, `num_rows` at a time, where and as they are stored."""


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """A weight in a file, of which no more is in memory than is being laid out."""

    shape: torch.Size
    device: torch.device
    dtype: torch.dtype
    read: Callable[[slice], torch.Tensor]
    """Gives rows as they are stored."""

    def split(self, num_rows: int) -> Iterator[torch.Tensor]:
        """Read `num_rows` rows at a time."""
        for start in range(0, self.shape[0], num_rows):
            yield self.read(slice(start, min(start + num_rows, self.shape[0])))


class DoesNotFit(Exception):
    """A layout cannot hold a weight as it is; the next best takes it."""


class Product(ABC):
    """x -> x W^T + b for a frozen weight W [O, I]."""

    @abstractmethod
    def __init__(self, weight: Rows, bias: torch.Tensor | None = None) -> None:
        """Lay out `weight`, which is then no longer needed; raises `DoesNotFit` where it cannot be held so."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Memory that weight, scales and bias take."""

    @abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply `x` [..., I] in the compute dtype; returns [..., O] in it."""


def slabs_of(
    weight: Rows, bias: torch.Tensor | None, bytes_a_weight: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Give a weight and its bias, slab by slab, as they are computed with."""
    for slab, slab_bias in stored_slabs_of(weight, bias, bytes_a_weight):
        yield slab.to(weight.device, weight.dtype), slab_bias


def stored_slabs_of(
    weight: Rows, bias: torch.Tensor | None, bytes_a_weight: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Give a weight as it is stored, and its bias, slab by slab."""
    rows = max(1, SLAB_BYTES // (weight.shape[1] * bytes_a_weight))
    biases = [None] * -(-weight.shape[0] // rows) if bias is None else bias.split(rows)
    yield from zip(weight.split(rows), biases, strict=True)


def whole(weight: Rows) -> torch.Tensor:
    """Return a weight as it is computed with."""
    (stored,) = weight.split(weight.shape[0])
    return stored.to(weight.device, weight.dtype)


def join(products: list[torch.Tensor]) -> torch.Tensor:
    """Put the outputs of slabs beside each other."""
    return products[0] if len(products) == 1 else torch.cat(products, dim=-1)


def bytes_of(*tensors: torch.Tensor | None) -> int:
    """Return the memory that tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)
