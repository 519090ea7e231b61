"""Answers of a local model, written by the engine in batches of many lanes at T = 0.

Knows nothing of what the answers are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.data.answer_log import Answer, key_of
from flas_engine.data.drawing import draw
from flas_engine.errors import Cancelled
from flas_engine.events import Finished, FinishReason
from flas_engine.request import MAX_SEED, Lane, Limits, Message, Request, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flas_engine.data.answer_log import AnswerLog
    from flas_engine.info import EngineProtocol


@dataclass(frozen=True, kw_only=True)
class LocalAnswers:
    """An answerer: the model that `open_engine` loads, when there is a first question for it."""

    model: str
    """Names the model in keys: another model's answers are other answers."""
    open_engine: Callable[[], EngineProtocol]
    num_lanes: int = 48
    max_tokens: int = 80
    temperature: float = 0.5
    seed: int = 0

    @property
    def name(self) -> str:
        """What an answer depends on besides the question."""
        return f"{self.model} max_tokens={self.max_tokens} temperature={self.temperature:g} seed={self.seed}"

    def answer(self, questions: Sequence[str], log: AnswerLog) -> Iterator[list[Answer]]:
        """Yield the answers that `log` lacks, a batch at a time.

        Batches and their seeds follow from all `questions`, not from what is missing, so that a killed run which goes
        on writes what an undisturbed one would. Every batch has noise of its own: within one the lanes share it, and
        a corpus under a single seed would begin every text alike.
        """
        engine: EngineProtocol | None = None
        for start in range(0, len(questions), self.num_lanes):
            batch = questions[start : start + self.num_lanes]
            missing = [question for question in batch if log.get(key_of(self.name, question)) is None]
            if not missing:
                continue
            engine = engine or self.open_engine()
            events = engine.stream(self._request(missing, draw(self.seed, "batch", batch[0])))
            yield [self._answer(missing[event.lane], event) for event in events if isinstance(event, Finished)]

    def _request(self, questions: list[str], seed: int) -> Request:
        return Request(
            lanes=tuple(Lane(conversation=(Message(role="user", content=question),)) for question in questions),
            sampling=Sampling(temperature=self.temperature),
            seed=seed % MAX_SEED,
            limits=Limits(max_new_tokens=self.max_tokens),
        )

    def _answer(self, question: str, finished: Finished) -> Answer:
        if finished.reason is FinishReason.CANCELLED:
            raise Cancelled("the run was called off")
        is_cut = finished.reason is FinishReason.LENGTH
        return Answer(key=key_of(self.name, question), asked=question, text=finished.text, is_cut=is_cut)
