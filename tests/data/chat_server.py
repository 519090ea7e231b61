"""An OpenAI-compatible server on loopback: answers by question, and the ways in which such servers go wrong."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD_KEY = "sk-GoodKeyOfTheTests1234"


@dataclass
class Behavior:
    """What the server does."""

    answer: Callable[[str], str] = lambda question: (
        f"Here is a plain answer to this: {question.split('.')[0]} and more."
    )
    finish_reason: str = "stop"
    statuses: list[int] = field(default_factory=list)
    """Answer the next requests with these, one each."""
    always: int | None = None
    """Answer every request with this status."""
    error_code: str | None = None
    key: str | None = None
    """The only key that is taken; None takes any."""
    raw: bytes | None = None
    """Send this in place of an answer."""
    after_request: Callable[[int], None] | None = None
    """Called with the number of questions so far, before the answer goes out."""
    fault_of: Callable[[str], str] | None = None
    """Names what goes wrong with a question, empty for nothing: see `_Handler._fail`."""
    retry_after: int = 0
    """Seconds that a client is told to wait."""
    counts_tokens: bool = True
    refuses: tuple[str, ...] = ()
    """Parameters that the model does not take."""


class ChatServer:
    """Serves `/v1/chat/completions`; use it as a context manager."""

    def __init__(self) -> None:
        self.behavior = Behavior()
        self.questions: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.arrivals: list[float] = []
        """When each request came, on the monotonic clock."""
        self.is_over = threading.Event()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"chat": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that are killed hang up
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def enter(self, request: dict[str, Any], authorization: str) -> int:
        with self._lock:
            self.authorizations.append(authorization)
            self.questions.append(request["messages"][-1]["content"])
            self.requests.append(request)
            self.arrivals.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return len(self.questions)

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def next_status(self) -> int:
        with self._lock:
            return self.behavior.always or (self.behavior.statuses.pop(0) if self.behavior.statuses else 200)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = request["messages"][-1]["content"]
        number = self.chat.enter(request, self.headers["Authorization"])
        try:
            if self.chat.behavior.after_request is not None:
                self.chat.behavior.after_request(number)
            self._answer(request, question)
        except OSError:  # the client has gone
            self.close_connection = True
        finally:
            self.chat.leave()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests read stderr."""

    def _answer(self, request: dict[str, Any], question: str) -> None:
        behavior = self.chat.behavior
        status = self.chat.next_status()
        refused = [name for name in behavior.refuses if name in request]
        fault = behavior.fault_of(question) if behavior.fault_of is not None else ""
        if behavior.key is not None and self.headers["Authorization"] != f"Bearer {behavior.key}":
            status = 401
        if status != 200:
            error = {"message": f"no; your header was {self.headers['Authorization']}", "code": behavior.error_code}
            self._send(status, json.dumps({"error": error}).encode())
        elif refused:
            error = {"message": "no", "code": "unsupported_parameter", "param": refused[0]}
            self._send(400, json.dumps({"error": error}).encode())
        elif fault:
            self._fail(fault)
        elif behavior.raw is not None:
            self._send(200, behavior.raw)
        else:
            self._send_completion(behavior.answer(question), behavior.finish_reason)

    def _fail(self, fault: str) -> None:
        """Do what `fault` says: a status with an error code or without, or one of the other ways to go wrong."""
        status, _, code = fault.partition(" ")
        if status.isdigit():
            error = {"message": f"no; your header was {self.headers['Authorization']}", "code": code or None}
            self._send(int(status), json.dumps({"error": error}).encode())
        elif fault == "silence":
            self.chat.is_over.wait()
            self.close_connection = True
        elif fault == "truncated":
            self._send_completion("Rating: [[2]]", "stop", is_cut=True)
        elif fault == "half of it":
            self._send(200, json.dumps(_completion("Rating: [[2]]", "stop")).encode()[:60])
        elif fault == "page":
            self._send(200, b"<html>Bad gateway</html>", "text/html")
        elif fault == "refusal":
            self._send_completion("", "stop", refusal="I will not.")
        elif fault == "filtered":
            self._send_completion("", "content_filter")
        else:
            self._send_completion(fault, "stop")

    def _send_completion(self, text: str, finish_reason: str, *, refusal: str = "", is_cut: bool = False) -> None:
        completion = _completion(text, finish_reason, refusal)
        if self.chat.behavior.counts_tokens:
            completion["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self._send(200, json.dumps(completion).encode(), is_cut=is_cut)

    def _send(self, status: int, body: bytes, kind: str = "application/json", *, is_cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Retry-After", str(self.chat.behavior.retry_after))
        if not self.chat.behavior.retry_after:
            self.send_header("retry-after-ms", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.close_connection = self.close_connection or is_cut


def _completion(text: str, finish_reason: str, refusal: str = "") -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal or None}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [choice]}
