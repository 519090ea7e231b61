"""What others published under the protocol that evaluations follow, to be read beside one's own numbers with care.

Source: the FLAS paper (arXiv 2605.05892) and its repository, flas-ai/FLAS: AxBench's Concept16k, GPT-4o-mini as the
judge, with AxBench's templates, T = 2 where one flow time stands for all. An independent retraining on 500 concepts
(arXiv 2610.07722) finds prompting ahead: such numbers belong to a checkpoint, its data and its judge.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "FLAS, arXiv 2605.05892: Concept16k, judged by GPT-4o-mini with AxBench's templates, T = 2"
CURVE_SOURCE = "FLAS, arXiv 2605.05892: Gemma-2-2B, held-out concepts, about 1,000 texts at each T"
OTHER_FINDING = "An independent retraining on 500 concepts (arXiv 2610.07722) finds prompting ahead of steering."


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedMethod:
    """Mean harmonic means of one method; None where none was published."""

    method: str
    held_in_2b: float | None = None
    held_out_2b: float | None = None
    held_in_9b: float | None = None
    held_out_9b: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedPoint:
    """Means at one flow time."""

    flow_time: float
    hm: float
    concept: float
    instruction: float
    fluency: float


PUBLISHED_METHODS = (
    PublishedMethod(method="FLAS", held_in_2b=1.025, held_out_2b=1.015, held_in_9b=1.185, held_out_9b=1.113),
    PublishedMethod(method="prompting", held_in_2b=0.731, held_out_2b=0.762, held_in_9b=1.075, held_out_9b=1.091),
    PublishedMethod(method="HyperSteer", held_in_2b=0.742, held_out_2b=0.608, held_in_9b=1.091, held_out_9b=0.934),
    PublishedMethod(method="LoReFT", held_in_2b=0.722),
    PublishedMethod(method="SFT", held_in_2b=0.714),
    PublishedMethod(method="LoRA", held_in_2b=0.641),
    PublishedMethod(method="ReFT-r1", held_in_2b=0.509),
    PublishedMethod(method="DiffMean", held_in_2b=0.178),
    PublishedMethod(method="SAE", held_in_2b=0.151),
)
_CURVE = (
    (0.5, 0.589, 0.56, 1.85, 1.06),
    (1.0, 0.982, 1.14, 1.61, 1.00),
    (1.5, 1.005, 1.20, 1.55, 1.01),
    (2.0, 1.015, 1.23, 1.57, 0.99),
    (2.5, 0.970, 1.24, 1.50, 0.98),
    (3.0, 0.927, 1.29, 1.40, 0.97),
    (3.5, 0.850, 1.33, 1.21, 0.93),
    (4.0, 0.678, 1.33, 0.96, 0.87),
)
PUBLISHED_CURVE = tuple(
    PublishedPoint(flow_time=flow_time, hm=hm, concept=concept, instruction=instruction, fluency=fluency)
    for flow_time, hm, concept, instruction, fluency in _CURVE
)
