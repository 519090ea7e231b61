"""A Hugging Face Hub on loopback: what downloads and uploads need of its protocol, and the ways it goes wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD_TOKEN = "hf_GoodTokenOfTheTests1234"
OUTSIDER_TOKEN = "hf_TokenWithoutAccess12345"
_UPLOAD = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<step>preupload|commit)/main")
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/revision/(?P<revision>[^?]+)")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_BLOCK = 1 << 16


@dataclass
class Repo:
    """A repository: its files, whether its licence has to be accepted, and whether it is open."""

    files: dict[str, bytes]
    is_gated: bool = False
    is_private: bool = False

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Faults:
    """What goes wrong. Applies to the bodies of large files."""

    cut_after: int | None = None
    """Close the connection after so many bytes of a body, once."""
    stall_after: int | None = None
    """Send nothing more after so many bytes of a body, but keep the connection."""
    ignores_ranges: bool = False
    garbles: bool = False
    bad_moments: int = 0
    """Answer so many requests for a body with status 503."""
    status: int | None = None
    """Answer everything with this status."""
    at_half: Callable[[], None] | None = None
    """Called when half of a body is sent."""


class Hub:
    """Serves repositories; use it as a context manager."""

    def __init__(self, repos: dict[str, Repo]) -> None:
        self.repos = repos
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.stalled = threading.Event()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def bodies(self) -> list[str]:
        """Name the files whose bodies were asked for, in order."""
        return [seen.path.rsplit("/", 1)[1] for seen in self.seen if seen.method == "GET" and "/resolve/" in seen.path]

    def wait_for_end(self) -> None:
        """Hold a stalled body until the server goes."""
        self.stalled.set()
        self._released.wait()

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()


def is_large(name: str) -> bool:
    """Whether the Hub keeps a file in large file storage."""
    return name.endswith((".safetensors", ".bin", ".pt"))


def etag_of(name: str, content: bytes) -> str:
    """The Hub's etag: the sha256 of a large file, git's id of a small one."""
    if is_large(name):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    return Handler


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_large: bool = False


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._send(self._answer())

    def do_GET(self) -> None:
        self._send(self._answer())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ") or None
        self.hub.seen.append(Seen(method="POST", path=self.path, range=None, token=token))
        self._send(self._upload(self.path.partition("?")[0], body, token))

    def _upload(self, path: str, body: bytes, token: str | None) -> _Answer:
        """Answer what an upload asks: make a repository, say how files come, take a commit with files in base64."""
        if self.hub.faults.status is not None:
            return _error(self.hub.faults.status, None, "")
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if token not in {GOOD_TOKEN, OUTSIDER_TOKEN}:
            return _error(401, None, "Invalid credentials in Authorization header")
        if token == OUTSIDER_TOKEN:
            return _error(403, None, "You have no rights to create a model under this namespace")
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
            is_new = name not in self.hub.repos
            if is_new:
                self.hub.repos[name] = Repo(
                    {}, is_private=bool(wanted.get("private")) or wanted.get("visibility") == "private"
                )
            return _json({"url": f"{self.hub.url}/{name}"}, status=200 if is_new else 409)
        match = _UPLOAD.fullmatch(path)
        if match is None or match["repo"] not in self.hub.repos:
            return _error(404, "RepoNotFound", "Repository not found")
        repo = self.hub.repos[match["repo"]]
        if match["step"] == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            return _json({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                repo.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return _json({"commitUrl": f"{self.hub.url}/{match['repo']}/commit/{repo.commit}", "commitOid": repo.commit})

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests read stderr."""

    def _answer(self) -> _Answer:
        match = _API.match(self.path) or _RESOLVE.match(self.path)
        if match is None:  # what huggingface_hub asks for its own purposes
            return _Answer(status=404)
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ") or None
        self.hub.seen.append(Seen(method=self.command, path=self.path, range=self.headers["Range"], token=token))
        if self.hub.faults.status is not None:
            return _Answer(status=self.hub.faults.status)
        if token not in {None, GOOD_TOKEN, OUTSIDER_TOKEN}:
            return _error(401, None, "Invalid credentials in Authorization header")
        repo = self.hub.repos.get(match["repo"])
        if repo is None:
            return _error(404 if token else 401, "RepoNotFound", "Repository not found")
        if match["revision"] not in {"main", repo.commit}:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        if match.re is _API:
            return _listing(match["repo"], repo)
        if repo.is_gated and token != GOOD_TOKEN:
            return _error(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        return self._file(repo, match["file"])

    def _file(self, repo: Repo, name: str) -> _Answer:
        content = repo.files.get(name)
        if content is None:
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repo.commit})
        headers = {"ETag": f'"{etag_of(name, content)}"', "X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if self.hub.faults.bad_moments and is_large(name) and self.command == "GET":
            self.hub.faults.bad_moments -= 1
            return _Answer(status=503)
        if self.hub.faults.garbles and is_large(name):
            content = content[:-1] + bytes([content[-1] ^ 1])
        wanted = self.headers["Range"]
        if wanted is None or self.hub.faults.ignores_ranges:
            return _Answer(status=200, headers=headers, body=content, is_large=is_large(name))
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return _Answer(status=206, headers=headers, body=content[start:], is_large=is_large(name))

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self._send_body(answer)
        except OSError:  # the client has gone, as some tests want it to
            self.close_connection = True

    def _send_body(self, answer: _Answer) -> None:
        faults, sent = self.hub.faults, 0
        while sent < len(answer.body):
            end = sent + _BLOCK
            if answer.is_large and faults.cut_after is not None and end > faults.cut_after:
                self.wfile.write(answer.body[sent : faults.cut_after])
                faults.cut_after = None
                self.close_connection = True
                return
            if answer.is_large and faults.stall_after is not None and end > faults.stall_after:
                self.wfile.write(answer.body[sent : faults.stall_after])
                self.wfile.flush()
                self.hub.wait_for_end()
                self.close_connection = True
                return
            self.wfile.write(answer.body[sent:end])
            sent = end
            if answer.is_large and faults.at_half is not None and sent >= len(answer.body) // 2:
                at_half, faults.at_half = faults.at_half, None
                at_half()


def _listing(name: str, repo: Repo) -> _Answer:
    siblings = []
    for file, content in repo.files.items():
        entry: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": etag_of(file, content)[:40]}
        if is_large(file):
            entry["lfs"] = {"sha256": etag_of(file, content), "size": len(content), "pointerSize": 134}
        siblings.append(entry)
    content = {"id": name, "modelId": name, "sha": repo.commit, "siblings": siblings, "tags": [], "private": False}
    return _Answer(status=200, headers={"Content-Type": "application/json"}, body=json.dumps(content).encode())


def _json(content: dict[str, object], status: int = 200) -> _Answer:
    return _Answer(status=status, headers={"Content-Type": "application/json"}, body=json.dumps(content).encode())


def _error(status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> _Answer:
    codes = {"X-Error-Code": code} if code else {}
    return _Answer(status=status, headers={**codes, "X-Error-Message": message, **(headers or {})})
