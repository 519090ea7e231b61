"""What others published under the protocol that evaluations follow, to be read beside one's own numbers with care.

Source: the FLAS paper (arXiv 2605.05892) and its repository, flas-ai/FLAS: AxBench's Concept16k, GPT-4o-mini as the
judge, with AxBench's templates. An independent retraining on 500 concepts (arXiv 2610.07722) finds prompting ahead:
such numbers belong to a checkpoint, its data and its judge. They are kept as text, with the digits they came with.
"""

from __future__ import annotations

from dataclasses import dataclass

CARE = (
    "Other prompts, another judge or another model make other numbers: compare with care. An independent retraining on "
    "500 concepts (arXiv 2610.07722) finds prompting ahead of steering."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """A table of published numbers; empty where none was published."""

    caption: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


METHODS_TABLE = PublishedTable(
    caption="Published HM at T 2: arXiv 2605.05892, Concept16k, judged by GPT-4o-mini with AxBench's templates",
    heading=("", "2B held-in", "2B held-out", "9B held-in", "9B held-out"),
    rows=(
        ("FLAS", "1.025", "1.015", "1.185", "1.113"),
        ("prompting", "0.731", "0.762", "1.075", "1.091"),
        ("HyperSteer", "0.742", "0.608", "1.091", "0.934"),
        ("LoReFT", "0.722", "", "", ""),
        ("SFT", "0.714", "", "", ""),
        ("LoRA", "0.641", "", "", ""),
        ("ReFT-r1", "0.509", "", "", ""),
        ("DiffMean", "0.178", "", "", ""),
        ("SAE", "0.151", "", "", ""),
    ),
)
CURVE_TABLE = PublishedTable(
    caption="Published means over T: arXiv 2605.05892, Gemma-2-2B, held-out concepts, about 1,000 texts each",
    heading=("", "HM", "C", "I", "F"),
    rows=(
        ("T 0.5", "0.589", "0.56", "1.85", "1.06"),
        ("T 1", "0.982", "1.14", "1.61", "1.00"),
        ("T 1.5", "1.005", "1.20", "1.55", "1.01"),
        ("T 2", "1.015", "1.23", "1.57", "0.99"),
        ("T 2.5", "0.970", "1.24", "1.50", "0.98"),
        ("T 3", "0.927", "1.29", "1.40", "0.97"),
        ("T 3.5", "0.850", "1.33", "1.21", "0.93"),
        ("T 4", "0.678", "1.33", "0.96", "0.87"),
    ),
)
PUBLISHED_TABLES = (METHODS_TABLE, CURVE_TABLE)
