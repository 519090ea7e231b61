"""What is loaded, in plain data, for headers, reports and histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flas_engine.concept_library import LibraryConcept
    from flas_engine.control import RunControl
    from flas_engine.events import Event
    from flas_engine.progress import ReportProgress
    from flas_engine.request import Request


@dataclass(frozen=True, kw_only=True)
class LoadSpec:
    """Which model to load, and where; None leaves the choice to the engine."""

    model: str | None = None
    """A catalog name, a Hub repository or a folder; None is, on a GPU, the largest released one that is here and fits
    it, else `demo`."""
    base: str | None = None
    """Another copy of the base model: a folder, a Hub repository, a GGUF file or a catalog name."""
    flow: str | None = None
    """Another flow checkpoint: a folder, a file or a Hub repository."""
    device: str | None = None
    """`cuda`, `cuda:1`, `mps` or `cpu`."""
    dtype: str | None = None
    """`bfloat16`, `float16`, `float32`, or `int8`: a byte a weight of the base, computing in the machine's best."""
    compiles: bool | None = None
    """Whether decoding passes are compiled in the background; it pays on CUDA, where it is the engine's choice."""


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """A loaded engine, described."""

    name: str
    """Short name, as in the catalog."""
    base_id: str
    flow_id: str | None
    """None when only baseline lanes can run."""
    family: str
    layer: int | None
    """The layer whose output the flow moves."""
    num_layers: int
    num_steps: int | None
    """The checkpoint's own number of solver steps."""
    prompt_format: str
    context_length: int
    device: str
    dtype: str
    """As in `LoadSpec`."""
    weight_bytes: int
    library: tuple[LibraryConcept, ...] = ()
    """Concepts that the flow does well."""


class EngineProtocol(Protocol):
    """What a front end needs of an engine; the tests' scripted engine satisfies it too."""

    @property
    def info(self) -> EngineInfo:
        """What is loaded."""

    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        """Run `request` and yield its events as they happen; raises `FlasError` when it cannot be run."""


class LoadFunction(Protocol):
    """Anything that loads an engine; `flas_engine.load_engine` is the real one."""

    def __call__(self, spec: LoadSpec, /, *, progress: ReportProgress) -> EngineProtocol:
        """Load what `spec` says; raises `FlasError` when it cannot."""
