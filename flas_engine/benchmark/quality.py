"""What 8-bit weights cost in quality: how far the next token's distribution moves.

The engine in its usual dtype answers greedily; both engines then read prompt and answer, and at every position of the
answer their whole distributions are compared. Baseline lanes only: the flow's weights stay as they are.

Shapes: L positions, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flas_engine.batch import LaneBatch
from flas_engine.benchmark.report import Quality
from flas_engine.layers import to_logits
from flas_engine.request import GREEDY, Lane, Limits, Message, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.engine import Engine

NUM_PROMPTS = 50
ANSWER_TOKENS = 32
LANES_AT_ONCE = 10
QUESTIONS = (
    "What is the capital of Norway, and what is it known for?",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about an old lighthouse.",
    "How do I keep basil alive on a windowsill in winter?",
    "What is the difference between a virus and a bacterium?",
    "Give me three ideas for a birthday party for a six-year-old.",
    "Why do leaves turn red in autumn?",
    "Summarise the story of Odysseus in one paragraph.",
    "Write a polite mail asking a landlord to repair the heating.",
    "How many days are there in a leap year, and why?",
    "What should I look at when I buy a used bicycle?",
    "Translate into French: where is the nearest station?",
    "Describe the taste of a ripe mango to someone who never had one.",
    "Name five inventions of the nineteenth century.",
    "How does a refrigerator move heat from cold to warm?",
    "Write a Python function that reverses the words of a sentence.",
    "Is it better to learn to draw from photographs or from life?",
    "What happens to the body during deep sleep?",
    "Suggest a simple dinner from rice, eggs and spinach.",
    "Tell me a joke about penguins.",
)
"""What is asked when no prompts are given."""


@torch.inference_mode()
def measure_quality(engine: Engine, int8: Engine, prompts: Sequence[str] = QUESTIONS) -> Quality:
    """Compare the distributions of both engines over the answers to the first 50 of `prompts`."""
    prompts = prompts[:NUM_PROMPTS]
    divergences = [
        _divergence(engine, int8, prompt_ids, answer_ids) for prompt_ids, answer_ids in _answers(engine, prompts)
    ]
    all_positions = torch.cat(divergences)
    return Quality(mean_kl=all_positions.mean().item(), num_prompts=len(prompts), num_positions=all_positions.shape[0])


def _answers(engine: Engine, prompts: Sequence[str]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the ids of each prompt and of its greedy answer."""
    lanes = [Lane(conversation=(Message(role="user", content=prompt),)) for prompt in prompts]
    for first in range(0, len(lanes), LANES_AT_ONCE):
        some = tuple(lanes[first : first + LANES_AT_ONCE])
        request = Request(lanes=some, sampling=GREEDY, limits=Limits(max_new_tokens=ANSWER_TOKENS))
        for lane, finished in zip(some, engine.generate(request), strict=True):
            yield engine.render(lane), list(finished.token_ids)


def _divergence(engine: Engine, int8: Engine, prompt_ids: list[int], answer_ids: list[int]) -> torch.Tensor:
    """Return KL(engine || int8) [L] at every position of the answer."""
    logp_LV, logq_LV = (_log_distributions(each, prompt_ids, answer_ids) for each in (engine, int8))
    return (logp_LV.exp() * (logp_LV - logq_LV)).sum(dim=-1)


def _log_distributions(engine: Engine, prompt_ids: list[int], answer_ids: list[int]) -> torch.Tensor:
    """Read the text in one go and return the log-probabilities [L, V] that each token of the answer was chosen from."""
    batch = LaneBatch(engine.base, None, None, [(prompt_ids + answer_ids)[:-1]])
    h_LD = torch.cat([h_1LD[0] for _, _, h_1LD in batch.read()])
    return to_logits(engine.base, h_LD[len(prompt_ids) - 1 :]).double().log_softmax(dim=-1)
