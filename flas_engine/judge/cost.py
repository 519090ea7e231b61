"""What a judge's questions cost: prices, estimates beforehand, and a limit that is kept while questions are under way.

Knows nothing of servers; tokens that were used come from their answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flas_engine.errors import EvaluationError

CHARACTERS_PER_TOKEN = 4
"""Of English text, by the usual rule of thumb."""
ANSWER_TOKENS = 80
"""Of an estimated answer: two sentences and the rating."""
TEMPLATE_TOKENS = 64
"""Around a question: the marks of its turn, and the words about dates and roles that some templates put in front."""
_TOKENS_PRICED = 1_000_000
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Dollars for a million tokens."""

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for price in (self.prompt, self.completion):
            if not 0 <= price < float("inf"):
                raise EvaluationError(f"a price is {price}; write dollars for a million tokens, 0 or more")

    def dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / _TOKENS_PRICED


LIST_PRICES = {"gpt-4o-mini": Prices(prompt=0.15, completion=0.60)}
"""Of AxBench's judge, on OpenAI's page of prices (platform.openai.com/docs/pricing), May 2026, without discounts."""


def list_prices(model: str) -> Prices | None:
    """Return the known prices of a model or of a dated snapshot of it; None when they must be given."""
    return LIST_PRICES.get(_SNAPSHOT.sub("", model))


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` has."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


class Budget:
    """Keeps count of dollars: those spent, and those that questions under way may come to."""

    def __init__(self, *, limit: float, prices: Prices, spent: float) -> None:
        if not limit > 0:
            raise EvaluationError(f"the limit of the cost is {limit}; it must be above 0 dollars")
        self._limit = limit
        self._prices = prices
        self._committed = spent

    def reserve(self, question: str, max_tokens: int, num_tries: int) -> float | None:
        """Set aside what a question can cost at most, and return it; None when that would pass the limit.

        A token is a byte at least; a template adds `TEMPLATE_TOKENS` at most.
        """
        prompt_tokens = len(question.encode()) + TEMPLATE_TOKENS
        most = num_tries * self._prices.dollars(prompt_tokens, max_tokens)
        if self._committed + most > self._limit:
            return None
        self._committed += most
        return most

    def settle(self, reserved: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Put what was used in the place of what was set aside; it stays where the server did not count."""
        if prompt_tokens or completion_tokens:
            self._committed += self._prices.dollars(prompt_tokens, completion_tokens) - reserved
