"""Answers of any server that speaks OpenAI's chat protocol, several at once, tried again when it is overloaded.

The official client does the waiting: it backs off exponentially on time-outs, 408, 409, 429 and 5xx, and heeds
`Retry-After`. The key comes from the environment and goes nowhere else. Knows nothing of what the answers are for.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from flas_engine.data.answer_log import Answer, key_of
from flas_engine.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.data.answer_log import AnswerLog

KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"
"""Sent where the environment has no key: servers on one's own machine take anything."""
_BAD_REQUEST = 400
_CUT, _FILTERED = "length", "content_filter"


@dataclass(frozen=True, kw_only=True)
class EndpointAnswers:
    """An answerer: `model` of the server at `url`, which ends in /v1 as a rule."""

    url: str
    model: str
    concurrency: int = 4
    max_tokens: int = 80
    temperature: float = 0.5
    max_retries: int = 6
    timeout_seconds: float = 120.0
    key_variable: str = KEY_VARIABLE

    @property
    def _address(self) -> str:
        """The URL as messages show it: without a password or key that may be in it."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def name(self) -> str:
        """What an answer depends on besides the question."""
        return f"{self.model} at {self.url} max_tokens={self.max_tokens} temperature={self.temperature:g}"

    def answer(self, questions: Sequence[str], log: AnswerLog) -> Iterator[list[Answer]]:
        """Yield the answers that `log` lacks, as they come; raises `DataError` when the server cannot be had."""
        missing = [question for question in questions if log.get(key_of(self.name, question)) is None]
        if not missing:
            return
        client = self._connect()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="flas-ask")
        try:
            futures = [pool.submit(self._ask, client, question) for question in missing]
            for future in as_completed(futures):
                yield [future.result()]
        finally:  # whoever leaves early does not wait for questions under way
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()

    def _connect(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError:
            raise DataError('asking an endpoint needs the openai client; run: pip install "flas-tui[judge]"') from None
        key = os.environ.get(self.key_variable) or NO_KEY
        return OpenAI(base_url=self.url, api_key=key, max_retries=self.max_retries, timeout=self.timeout_seconds)

    def _ask(self, client: Any, question: str) -> Answer:
        from openai import APIConnectionError, APIError, APIStatusError

        try:
            completion = client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": question}],
                max_tokens=self.max_tokens,
                temperature=self.temperature,
            )
            choice = completion.choices[0]
            text = choice.message.content or ""
        except APIStatusError as error:
            if error.status_code == _BAD_REQUEST and "content" in str(error.code):  # a filter of questions
                return self._answer(question, refusal=str(error.code))
            raise DataError(self._explain(error.status_code)) from None
        except APIConnectionError as error:
            raise DataError(
                f"no connection to {self._address} ({type(error).__name__}); check the address and the network, "
                "then run the same command: it goes on"
            ) from None
        except (APIError, AttributeError, IndexError, TypeError, ValueError):  # an answer of another form
            raise DataError(
                f"{self._address} does not answer like an OpenAI endpoint; its address usually ends in /v1"
            ) from None
        if choice.finish_reason == _FILTERED or getattr(choice.message, "refusal", None):
            return self._answer(question, refusal=_FILTERED)
        return self._answer(question, text=text, is_cut=choice.finish_reason == _CUT)

    def _answer(self, question: str, *, text: str = "", is_cut: bool = False, refusal: str = "") -> Answer:
        return Answer(key=key_of(self.name, question), asked=question, text=text, is_cut=is_cut, refusal=refusal)

    def _explain(self, status: int) -> str:
        if status in (401, 403):
            return f"{self._address} refuses the key ({status}); put the right one into {self.key_variable}"
        if status == 404:
            return f"{self._address} knows no model {self.model!r} (404); check --endpoint and --endpoint-model"
        if status == 429:
            return f"{self._address} still asks for a pause (429); run the same command later: it goes on"
        return f"{self._address} answers {status} for {self.model!r}; run the same command again later: it goes on"
