"""What a base model itself says of a text: the measures behind the offline judge's ratings, in nats a token.

All of them come from one thing: how likely the text is as the answer to several prompts, without steering. With x the
text's prompt, c its concept, and x + c the prompt that names the concept as well:

- concept: log p(text | x + c) - log p(text | x + c'), where c' are other concepts, averaged. Naming anything changes
  how a model answers; the other concepts cancel what any of them would do. Measured on SmolLM2-135M's own texts at
  temperature 1, two prompts a concept: T = 1 above T = 0 for 18 of 20 concepts, and for 33 of their 40 texts.
- instruction: log p(text | x) - log p(text | x'), where x' are other prompts, averaged.
- likelihood: log p(text | x) or, where the concept is asked for, log p(text | x + c), whichever is larger; tokens that
  repeat the text itself are left out, because a loop of words is very likely.
- variety: the share of tokens that do not end a run of `RUN_TOKENS` that stood in the text before.

The ideas behind it: by Bayes' rule a difference of log-likelihoods is the log-odds of what the text was written for
(the noisy channel of Min et al., arXiv 2108.04106); differences over conditions cancel how likely the words are anyway
(Holtzman et al., arXiv 2104.08315); repeated n-grams count repetition (Li et al., arXiv 1510.03055).

Knows nothing of ratings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from flas_engine.data.drawing import shuffled
from flas_engine.judge.calibration_texts import read_calibration_texts
from flas_engine.prompts import tokenize_plainly
from flas_engine.request import Lane, Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flas_engine.engine import Engine

NUM_OTHER_CONCEPTS = 2
NUM_OTHER_PROMPTS = 1
RUN_TOKENS = 4
"""So many tokens in a row seldom come twice by chance."""
TOKENS_AT_ONCE = 4096
"""Read in one pass: enough to keep a GPU busy, and a bound on memory."""
_SEED = 0
_WORD = re.compile(r"\w{4,}")


class Unjudgeable(Exception):
    """Why nothing can be said of a text, in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a text is held against: its own prompt and concept, and others'."""

    prompt: str
    concept: str
    other_concepts: tuple[str, ...]
    other_prompts: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """All prompts that the text has to be scored under, each once."""
        named = [name_concept(self.prompt, concept) for concept in (self.concept, *self.other_concepts)]
        return tuple(dict.fromkeys((self.prompt, *named, *self.other_prompts)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredText:
    """The tokens of a text, and the natural log of each one's probability under every prompt."""

    token_ids: tuple[int, ...]
    logprobs: Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The measures of one text; see the module."""

    concept: float
    instruction: float
    likelihood: float
    variety: float
    """From 0 to 1."""


def name_concept(prompt: str, concept: str) -> str:
    """Return the prompt that names the concept, in other words than the prompting method's."""
    return f"{prompt}\n\nThe answer should show this: {concept}."


def compare(prompt: str, concept: str) -> Comparison:
    """Draw what a text is held against from the calibration texts: always the same for a prompt and a concept."""
    items = read_calibration_texts().items
    drawn_for = f"{prompt}\0{concept}"
    return Comparison(
        prompt=prompt,
        concept=concept,
        other_concepts=_draw([item.concept for item in items], concept, drawn_for)[:NUM_OTHER_CONCEPTS],
        other_prompts=_draw([item.prompt for item in items], prompt, drawn_for)[:NUM_OTHER_PROMPTS],
    )


def score_text(engine: Engine, text: str, asked: Sequence[str]) -> ScoredText:
    """Score a text as the unsteered answer to every prompt; raises `Unjudgeable` when it is empty or too long.

    It is scored by itself: what else is judged in the same run does not change a bit of it.
    """
    token_ids = tokenize_plainly(text, engine.tokenizer)
    if not text.strip() or not token_ids:
        raise Unjudgeable("no text")
    lanes = [Lane(conversation=(Message(role="user", content=prompt),)) for prompt in asked]
    longest = len(token_ids) + max(len(engine.render(lane)) for lane in lanes)
    if longest > engine.info.context_length:
        raise Unjudgeable("too long for the model that judges")
    few = max(1, TOKENS_AT_ONCE // longest)
    logprobs: list[list[float]] = []
    for start in range(0, len(lanes), few):
        at_once = lanes[start : start + few]
        logprobs += engine.score_ids(at_once, [token_ids] * len(at_once))
    return ScoredText(token_ids=tuple(token_ids), logprobs=dict(zip(asked, logprobs, strict=True)))


def weigh(scored: ScoredText, comparison: Comparison) -> Evidence:
    """Return what the scores of a text under `comparison.asked` say."""
    prompt, concept = comparison.prompt, comparison.concept
    under = {asked: fmean(each) for asked, each in scored.logprobs.items()}
    with_others = fmean(under[name_concept(prompt, other)] for other in comparison.other_concepts)
    return Evidence(
        concept=under[name_concept(prompt, concept)] - with_others,
        instruction=under[prompt] - fmean(under[other] for other in comparison.other_prompts),
        likelihood=max(likelihood(scored, prompt), likelihood(scored, name_concept(prompt, concept))),
        variety=fmean(_is_new(scored.token_ids)),
    )


def likelihood(scored: ScoredText, asked: str) -> float:
    """Return the mean log-probability of the tokens that do not repeat the text itself."""
    pairs = zip(scored.logprobs[asked], _is_new(scored.token_ids), strict=True)
    return fmean(logprob for logprob, is_new in pairs if is_new)


def _is_new(token_ids: Sequence[int]) -> list[bool]:
    """Tell, token by token, whether the run that it ends is there for the first time.

    With runs of 2: a b c a b d -> new, new, new, new (c a), old (a b again), new (b d).
    """
    seen: set[tuple[int, ...]] = set()
    is_new = []
    for end in range(1, len(token_ids) + 1):
        run = tuple(token_ids[max(0, end - RUN_TOKENS) : end])
        is_new.append(run not in seen)
        seen.add(run)
    return is_new


def _draw(candidates: Sequence[str], own: str, drawn_for: str) -> tuple[str, ...]:
    """Return the candidates in an order by chance, those last that share a longer word with `own`."""
    own_words = _words(own)
    in_order = shuffled((each for each in candidates if each != own), _SEED, drawn_for)
    return tuple(sorted(in_order, key=lambda each: not own_words.isdisjoint(_words(each))))


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))
