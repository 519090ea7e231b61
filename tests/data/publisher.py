"""The publishers of data sets on loopback: raw files as GitHub serves them, and data sets as the Hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


@dataclass
class Publisher:
    """Serves `files` by path; use it as a context manager."""

    files: dict[str, bytes] = field(default_factory=dict)
    data_sets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By repository: its files, all of them kept in large file storage."""
    cut_after: int | None = None
    """Close the connection after so many bytes of a body, once."""
    garbles: bool = False
    statuses: list[int] = field(default_factory=list)
    """Answer the next requests with these, one each."""
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and range of each request."""

    def __enter__(self) -> Publisher:
        handler = type("Handler", (_Handler,), {"publisher": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def find(self, path: str) -> bytes | None:
        """The body that belongs to a path."""
        path = path.partition("?")[0].lstrip("/")
        if path in self.files:
            return self.files[path]
        for repository, files in self.data_sets.items():
            if path.startswith(f"api/datasets/{repository}"):
                return json.dumps(_listing(repository, files)).encode()
            if path.startswith(f"datasets/{repository}/resolve/{COMMIT}/"):
                return files.get(path.removeprefix(f"datasets/{repository}/resolve/{COMMIT}/"))
        return None


class _Handler(BaseHTTPRequestHandler):
    publisher: Publisher
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        publisher = self.publisher
        wanted = self.headers["Range"]
        publisher.seen.append((self.path, wanted))
        body = publisher.find(self.path)
        status = publisher.statuses.pop(0) if publisher.statuses else 200 if body is not None else 404
        if status != 200 or body is None:
            self._send(status, b"")
            return
        if publisher.garbles and not self.path.startswith("/api/"):
            body = body[:-1] + bytes([body[-1] ^ 1])
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self._send(206 if wanted else 200, body[start:])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests read stderr."""

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.publisher.cut_after
        if cut is not None and len(body) > cut:
            self.publisher.cut_after = None
            self.wfile.write(body[:cut])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _listing(repository: str, files: dict[str, bytes]) -> dict[str, object]:
    siblings = [
        {
            "rfilename": name,
            "size": len(content),
            "blobId": hashlib.sha1(content).hexdigest(),
            "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134},
        }
        for name, content in files.items()
    ]
    return {"id": repository, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
