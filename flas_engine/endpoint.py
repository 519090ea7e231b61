"""Asks any server that speaks OpenAI's chat protocol, by the official client; says in words what went wrong.

The client does the waiting: it backs off exponentially on time-outs, broken answers, 408, 409, 429 and 5xx, and heeds
`Retry-After`. The key comes from the environment and goes nowhere else. Knows nothing of what the answers are for.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import socket
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTP_PORT, HTTPS_PORT
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import getproxies

from flas_engine.errors import EndpointError

if TYPE_CHECKING:
    from types import TracebackType

KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"
"""Sent where the environment has no key: servers on one's own machine take anything."""
CONTENT_FILTER = "content_filter"
"""The refusal of a server that screens questions or answers."""
_CUT = "length"
_SECRET = "[secret]"
_SHORTEST_KEY = 8
"""Shorter ones are words like 'none' and 'test', given to servers that take anything."""
_CODE = re.compile(r"[A-Za-z][A-Za-z_]{2,39}")
"""What an error code looks like; anything else a server puts there may be anything."""
_INSTEAD = {"max_tokens": "max_completion_tokens", "temperature": None, "seed": None}
"""What newer models refuse, and what they are told instead."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model of the server at `url`, which ends in /v1 as a rule."""

    url: str = field(repr=False)
    """May hold a user and a password, for a server behind a gate."""
    model: str
    max_retries: int = 6
    timeout_seconds: float = 120.0
    key_variable: str = KEY_VARIABLE

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address:  # without the offending value: a key may have been put in its place
            raise EndpointError("the address of the endpoint is no URL; write it like http://localhost:8000/v1")
        if not self.model.strip():
            raise EndpointError(f"the model to ask at {self.address} has no name; name one that the server has")

    @property
    def address(self) -> str:
        """The URL as messages show it: without a password or key that may be in it."""
        return urlunsplit(_without_user(urlsplit(self.url))._replace(query="", fragment=""))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a server answered."""

    text: str
    is_cut: bool
    """Whether the limit of tokens ended it."""
    refusal: str
    """Why there is no text, when the server would not answer."""
    prompt_tokens: int
    completion_tokens: int
    """Both 0 when the server does not count."""


class NoReply(EndpointError):
    """One question got no answer, after all tries; others may. `reason` says why in a few words, to be counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MalformedReply(NoReply):
    """Something came back that is no chat answer: cut short, or of another kind of server."""


class EndpointClient:
    """Asks `endpoint`, from any number of threads; use it as a context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._key = os.environ.get(endpoint.key_variable) or NO_KEY
        self._refused: set[str] = set()
        """Parameters that the model does not take."""
        self._client: Any = None

    def __enter__(self) -> EndpointClient:
        try:
            from openai import OpenAI
        except ImportError:
            raise EndpointError(
                'asking an endpoint needs the openai client; run: pip install "flas-tui[judge]"'
            ) from None
        parts = urlsplit(self._endpoint.url)
        self._require_server(parts)
        self._client = OpenAI(
            base_url=urlunsplit(_without_user(parts)),
            api_key=self._key,
            max_retries=self._endpoint.max_retries,
            timeout=self._endpoint.timeout_seconds,
            default_headers=_basic_authorization(parts),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def _require_server(self, parts: SplitResult) -> None:
        """Refuse an address where nobody listens, which the client would try again and again."""
        if getproxies():  # then it is not this machine that connects
            return
        port = parts.port or (HTTPS_PORT if parts.scheme == "https" else HTTP_PORT)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=self._endpoint.timeout_seconds).close()
        except (OSError, UnicodeError) as error:  # the latter of a name that no machine can have
            raise self._no_connection(type(error).__name__) from None

    def ask(self, question: str, *, max_tokens: int, temperature: float, seed: int | None = None) -> Reply:
        """Return the answer; raises `NoReply` when there is none, another `EndpointError` when there will never be."""
        from openai import APIConnectionError, APIError, APIStatusError

        settings = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        try:
            return self._read(self._create(question, settings))
        except APIStatusError as error:
            if error.status_code == HTTPStatus.BAD_REQUEST and "content" in str(error.code):  # a filter of questions
                return _refusal(CONTENT_FILTER)
            raise self._explain(error.status_code, str(error.code or "")) from None
        except APIConnectionError as error:
            raise self._explain_broken(error) from None
        except (APIError, AttributeError, IndexError, TypeError, ValueError):  # an answer of another form
            raise MalformedReply(
                "no chat answer",
                f"{self._endpoint.address} does not answer like an OpenAI endpoint; its address usually ends in /v1",
            ) from None

    def _create(self, question: str, settings: dict[str, Any]) -> Any:
        """Ask, and once more in another way where the model does not take a parameter."""
        from openai import BadRequestError

        while True:
            sent = self._adapted(settings)
            try:
                return self._client.chat.completions.create(
                    model=self._endpoint.model, messages=[{"role": "user", "content": question}], **sent
                )
            except BadRequestError as error:
                name = error.param or ""
                if name not in sent or name not in _INSTEAD or not str(error.code).startswith("unsupported"):
                    raise
                _log.warning("%s does not take %s", self._endpoint.model, name)
                self._refused.add(name)

    def _adapted(self, settings: dict[str, Any]) -> dict[str, Any]:
        names = {name: _INSTEAD[name] if name in self._refused else name for name in settings}
        return {new: settings[name] for name, new in names.items() if new and settings[name] is not None}

    def _read(self, completion: Any) -> Reply:
        choice = completion.choices[0]
        message = choice.message
        usage = getattr(completion, "usage", None)
        is_filtered = choice.finish_reason == CONTENT_FILTER
        return Reply(
            text=self._without_key(message.content or ""),
            is_cut=choice.finish_reason == _CUT,
            refusal=CONTENT_FILTER if is_filtered else "refused" if getattr(message, "refusal", None) else "",
            prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
            completion_tokens=getattr(usage, "completion_tokens", None) or 0,
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, _SECRET) if len(self._key) >= _SHORTEST_KEY else text

    def _explain(self, status: int, code: str) -> EndpointError:
        """Tell what no question can get around from what may pass."""
        address, model = self._endpoint.address, self._endpoint.model
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return EndpointError(
                f"{address} refuses the key ({status}); put the right one into {self._endpoint.key_variable}"
            )
        if status == HTTPStatus.NOT_FOUND:
            return EndpointError(f"{address} knows no model {model!r} (404); check the model's name and the address")
        if code == "insufficient_quota":
            return EndpointError(f"{address} says that the account has no credit left ({code}); top it up, or wait")
        reason = _in_words(status, code)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return NoReply(reason, f"{address} still asks for a pause (429); run the same command later: it goes on")
        return NoReply(
            reason, f"{address} answers {reason} for {model!r}; run the same command again later: it goes on"
        )

    def _explain_broken(self, error: Exception) -> EndpointError:
        missing = self._no_connection(type(error).__name__)
        if type(error.__cause__).__name__ == "ConnectError":  # nobody is there any more
            return missing
        is_late = type(error).__name__ == "APITimeoutError"
        return NoReply("timed out" if is_late else "connection broken", str(missing))

    def _no_connection(self, why: str) -> EndpointError:
        return EndpointError(
            f"no connection to {self._endpoint.address} ({why}); check the address and the network, then run the same "
            "command: it goes on"
        )


def _refusal(why: str) -> Reply:
    return Reply(text="", is_cut=False, refusal=why, prompt_tokens=0, completion_tokens=0)


def _in_words(status: int, code: str) -> str:
    """Say '500 Internal Server Error', or '400 context_length_exceeded' when the server is that precise."""
    if _CODE.fullmatch(code):
        return f"{status} {code}"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _without_user(parts: SplitResult) -> SplitResult:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])


def _basic_authorization(parts: SplitResult) -> dict[str, str] | None:
    """Return the header that a user and password in the URL stand for: the client would write the URL into its log."""
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
