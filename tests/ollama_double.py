"""An Ollama on this machine that speaks what was measured of the real one: status codes, streams, rules for names.

Where OLLAMA_HOST is set, the tests that need no faults run against the server there.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(rf"(?:(?:{_PART}/)?[A-Za-z0-9_][A-Za-z0-9_-]{{0,79}}/)?{_PART}(?::{_PART})?")


@attrs.define
class OllamaDouble:
    """What the server has, and what goes wrong next."""

    host: str = ""
    blobs: dict[str, bytes] = attrs.field(factory=dict)
    models: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """By full name; names are the same in both cases of letters."""
    requests: list[tuple[str, str]] = attrs.field(factory=list)
    pulled: list[str] = attrs.field(factory=list)
    bodies: list[dict[str, Any]] = attrs.field(factory=list)
    """What /api/create was asked."""
    cut_uploads: int = 0
    """So many uploads lose their connection in the middle."""
    cut_answers: int = 0
    """So many uploads are taken, and the answer loses its connection in the middle."""
    cut_stream: bool = False
    """The next creation stops without success."""
    stream_error: str = ""
    refuse_uploads: int = 0
    """A status that uploads are refused with before they are read."""
    fails: bool = False
    """Every request is answered with status 500."""

    def add(self, name: str, *, architecture: str = "llama", layers: int = 1, adapter: bool = False) -> None:
        """A model that was there before."""
        self.models[name] = {
            "template": "{{ .Prompt }}",
            "modelfile": "# made\nFROM /blobs/x\n" + "ADAPTER /blobs/y\n" * adapter + "TEMPLATE {{ .Prompt }}\n",
            "model_info": {"general.architecture": architecture, f"{architecture}.block_count": layers},
        }

    def find(self, name: str) -> str | None:
        """The full name of a model as it is stored."""
        wanted = _full(name).lower()
        return next((each for each in self.models if each.lower() == wanted), None)

    def uploads(self) -> int:
        """How many contents were sent."""
        return sum(method == "POST" and path.startswith("/api/blobs/") for method, path in self.requests)


def _full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


@contextmanager
def serving() -> Iterator[OllamaDouble]:
    """A server that answers until the context ends."""
    double = OllamaDouble()

    class Handler(_Handler):
        state = double

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    double.host = f"127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: OllamaDouble

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self._begins():
            pages = {"/": b"Ollama is running", "/api/version": b'{"version":"0.0.0"}', "/api/tags": self._tags()}
            self._send(200 if self.path in pages else 404, pages.get(self.path, b""))

    def do_HEAD(self) -> None:
        if self._begins():
            digest = self.path.removeprefix("/api/blobs/")
            status = 400 if not _DIGEST.fullmatch(digest) else 200 if digest in self.state.blobs else 404
            self._send(status, b"")

    def do_DELETE(self) -> None:
        if self._begins():
            name = str(self._json().get("model", ""))
            if not _NAME.fullmatch(name):
                self._error(400, f"name {name!r} is invalid")
            elif (stored := self.state.find(name)) is None:
                self._error(404, f"model '{name}' not found")
            else:
                del self.state.models[stored]
                self._send(200, b"")

    def do_POST(self) -> None:
        if not self._begins():
            return
        if self.path.startswith("/api/blobs/"):
            self._take_blob(self.path.removeprefix("/api/blobs/"))
        elif self.path == "/api/show":
            self._show(str(self._json().get("model", "")))
        elif self.path == "/api/create":
            self._create(self._json())
        else:
            self._send(404, b"404 page not found")

    def _begins(self) -> bool:
        self.state.requests.append((self.command, self.path))
        if self.state.fails:
            self._error(500, "something broke")
            self.close_connection = True
        return not self.state.fails

    def _json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _take_blob(self, digest: str) -> None:
        length = int(self.headers["Content-Length"])
        if self.state.refuse_uploads:
            self._error(self.state.refuse_uploads, "no space left on device")
            self.close_connection = True
            return
        if self.state.cut_uploads:
            self.state.cut_uploads -= 1
            self.rfile.read(length // 2)
            self.connection.close()
            self.close_connection = True
            return
        content = self.rfile.read(length)
        if digest in self.state.blobs:
            self._send(200, b"")
        elif f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            self._error(400, "digest mismatch")
        else:
            self.state.blobs[digest] = content
            if self.state.cut_answers:
                self.state.cut_answers -= 1
                self.send_response(201)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.close_connection = True
                return
            self._send(201, b"")

    def _show(self, name: str) -> None:
        stored = self.state.find(name)
        if stored is None:
            self._error(404, f"model '{name}' not found")
        else:
            self._send(200, json.dumps(self.state.models[stored]).encode())

    def _create(self, body: dict[str, Any]) -> None:
        self.state.bodies.append(body)
        name = str(body.get("model", ""))
        known = {
            "model",
            "from",
            "files",
            "adapters",
            "template",
            "system",
            "parameters",
            "messages",
            "license",
            "stream",
        }
        assert body.keys() <= known, body.keys() - known
        if not _NAME.fullmatch(name):
            self._error(400, "invalid model name")
        elif not body.get("from") and not body.get("files"):
            self._error(400, "neither 'from' or 'files' was specified")
        elif body.get("stream") is False:
            error = self._made(name, body)
            self._send(500 if error else 200, json.dumps({"error": error} if error else {"status": "success"}).encode())
        else:
            self._stream(name, body)

    def _stream(self, name: str, body: Mapping[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._line({"status": "parsing GGUF"})
        if self.state.cut_stream:
            self.state.cut_stream = False
            self.connection.close()
            self.close_connection = True
            return
        error = self._made(name, body)
        self._line({"error": error} if error else {"status": "success"})
        self.wfile.write(b"0\r\n\r\n")

    def _line(self, data: Mapping[str, Any]) -> None:
        line = json.dumps(data).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _made(self, name: str, body: Mapping[str, Any]) -> str:
        """The error, or "" when the model stands."""
        if self.state.stream_error:
            return self.state.stream_error
        base = body.get("from")
        if base and self.state.find(base) is None:
            self.state.pulled.append(base)
            return "pull model manifest: file does not exist"
        for digest in (*body.get("files", {}).values(), *body.get("adapters", {}).values()):
            if digest not in self.state.blobs:
                return f'blob "{digest}" does not exist'
            if not self.state.blobs[digest].startswith(b"GGUF"):
                return "invalid file magic"
        inherited = self.state.models[self.state.find(base) or ""] if base else {}
        adapters = "".join(f"ADAPTER /blobs/{digest}\n" for digest in body.get("adapters", {}).values())
        template = body.get("template", inherited.get("template", "{{ .Prompt }}"))
        self.state.models[_full(name)] = {
            "template": template,
            "system": body.get("system", ""),
            "parameters": body.get("parameters", {}),
            "modelfile": f'# made by the server\nFROM /blobs/base\n{adapters}TEMPLATE """{template}"""\n',
            "model_info": inherited.get("model_info", {"general.architecture": "llama", "llama.block_count": 1}),
        }
        return ""

    def _tags(self) -> bytes:
        return json.dumps(
            {
                "models": [
                    {
                        "name": name,
                        "model": name,
                        "modified_at": "2026-11-26T03:00:00.5Z",
                        "size": 1_234_567,
                        # The server rewrites what it is given, so that its digests are its own.
                        "digest": hashlib.sha256(name.encode()).hexdigest(),
                        "details": {"family": "llama", "quantization_level": "Q4_K_M", "parameter_size": "1M"},
                    }
                    for name in self.state.models
                ]
            }
        ).encode()

    def _error(self, status: int, what: str) -> None:
        self._send(status, json.dumps({"error": what}).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
