"""Answers of any server that speaks OpenAI's chat protocol, several at once. Knows nothing of what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flas_engine.at_once import map_at_once
from flas_engine.data.answer_log import Answer, key_of
from flas_engine.endpoint import Endpoint, EndpointClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.data.answer_log import AnswerLog


@dataclass(frozen=True, kw_only=True)
class EndpointAnswers:
    """An answerer: the model of an endpoint."""

    endpoint: Endpoint
    concurrency: int = 4
    max_tokens: int = 80
    temperature: float = 0.5

    @property
    def name(self) -> str:
        """What an answer depends on besides the question; it stands in rows, so no password of the URL is in it."""
        endpoint = self.endpoint
        return f"{endpoint.model} at {endpoint.address} max_tokens={self.max_tokens} temperature={self.temperature:g}"

    def answer(self, questions: Sequence[str], log: AnswerLog) -> Iterator[list[Answer]]:
        """Yield the answers that `log` lacks, as they come; raises `EndpointError` when the server cannot be had."""
        missing = [question for question in questions if log.get(key_of(self.name, question)) is None]
        if not missing:
            return
        with EndpointClient(self.endpoint) as client:
            for answer in map_at_once(lambda question: self._ask(client, question), missing, self.concurrency):
                yield [answer]

    def _ask(self, client: EndpointClient, question: str) -> Answer:
        reply = client.ask(question, max_tokens=self.max_tokens, temperature=self.temperature)
        return Answer(
            key=key_of(self.name, question),
            asked=question,
            text="" if reply.refusal else reply.text,
            is_cut=reply.is_cut and not reply.refusal,
            refusal=reply.refusal,
        )
