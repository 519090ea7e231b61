"""What a base model itself says of a text, in nats a token: the measures behind the offline judge's ratings.

All of them come from one thing, the log-probability of the text's tokens as the answer to several prompts, without
steering. With x the prompt of the text, c its concept, and x + c the prompt that names the concept:

- concept: log p(text | x + c) - mean over other concepts c' of log p(text | x + c'). Naming anything changes how a
  model answers; the other concepts cancel what any of them would do. After Bayes' rule it is the (unnormalised)
  log-odds that the text was written for c and not for c'.
- instruction: log p(text | x) - mean over other prompts x' of log p(text | x').
- likelihood: log p(text | x), the tokens that repeat the text itself aside: a loop of words is very likely.
- variety: the share of the text's runs of `RUN_TOKENS` tokens that come up for the first time.

The ideas: log-odds as classifier (the noisy channel of Min et al. 2022, arXiv 2108.04106), differences over conditions
that cancel surface form (Holtzman et al. 2021, arXiv 2104.08315), distinct n-grams (Li et al. 2016, arXiv 1510.03055).
Knows nothing of ratings.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from flas_engine.request import Lane, Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flas_engine.engine import Engine
