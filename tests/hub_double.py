"""A Hub on this machine: the few endpoints that the real client asks, and a child process that knows no other Hub."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import attrs
from huggingface_hub import HfApi, constants, hf_hub_download

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

T = TypeVar("T")
LOADED_HERE = (HfApi, hf_hub_download)
"""Loaded before the first fork, so that no child has to."""

COMMIT = "c0ffee" + "0" * 34
NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nothing listens."""


@attrs.frozen
class Refusal:
    """An answer without content; ``cut`` closes the connection in the middle of the content instead."""

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cut: bool = False


GATED = Refusal(403, {"X-Error-Code": "GatedRepo"})
CUT = Refusal(cut=True)


@attrs.define
class Hub:
    """What the double serves, by path, and what it was asked."""

    url: str = ""
    contents: dict[str, bytes] = attrs.field(factory=dict)
    refusals: dict[str, Refusal] = attrs.field(factory=dict)
    """By the beginning of a path; the first that fits."""
    requests: list[tuple[str, str]] = attrs.field(factory=list)
    """(method, path)."""

    def add(self, name: str, files: Mapping[str, bytes | str], *, kind: str = "model", **info: Any) -> None:
        """A repository with these files on its main branch; ``info`` is what the Hub says beside them."""
        described = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files], **info}
        for path in (f"/api/{kind}s/{name}", f"/api/{kind}s/{name}/revision/{COMMIT}"):
            self.contents[path] = json.dumps(described).encode()
        at = f"/{name}" if kind == "model" else f"/{kind}s/{name}"
        for file, content in files.items():
            self.contents[f"{at}/resolve/{COMMIT}/{file}"] = content.encode() if isinstance(content, str) else content

    def fetched(self) -> set[str]:
        """The files whose content was asked for."""
        return {path.partition(f"/resolve/{COMMIT}/")[2] for method, path in self.requests if method == "GET"} - {""}


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub that answers until the context ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        do_HEAD = do_GET  # noqa: N815 (the server's name)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((self.command, path))
            refusal = next((r for start, r in hub.refusals.items() if path.startswith(start)), Refusal())
            content = hub.contents.get(path)
            if refusal.status != 200:
                self._send(refusal.status, refusal.headers, b"")
            elif content is None:
                self._send(404, {"X-Error-Code": "RepoNotFound"}, b"")
            else:
                tag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
                share = 0 if self.command == "HEAD" else 0.5 if refusal.cut else 1
                self._send(200, tag, content, num_sent=int(share * len(content)))

        def _send(self, status: int, headers: Mapping[str, str], content: bytes, *, num_sent: int = 0) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[:num_sent])
            self.close_connection = self.close_connection or (self.command == "GET" and num_sent < len(content))

    with answering(Handler) as hub.url:
        yield hub


def child_environment(hub: Hub | str, home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that knows this Hub alone and keeps its cache in ``home``."""
    url = hub if isinstance(hub, str) else hub.url
    kept = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "HF_ENDPOINT": url}
    return {**kept, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", **more}


def ask(hub: Hub | str, home: Path, question: Callable[[], T], **more: str) -> T | Problem:
    """What ``question`` returns in a forked process with that environment, or the problem that it raises."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        status = 1
        try:
            environment = child_environment(hub, home, **more)
            os.environ.clear()
            os.environ.update(environment)
            importlib.reload(constants)  # the client reads its environment there, once
            time.sleep = lambda _: None  # and waits between its tries
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(_answer_or_problem(question), pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0, "the child failed; its traceback stands on stderr"
    found: T | Problem = pickle.loads(answer)
    return found


def _answer_or_problem(question: Callable[[], T]) -> T | Problem:
    try:
        return question()
    except BackpropError as error:
        return error.problems[0]


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address at which a handler answers until the context ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
