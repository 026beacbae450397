"""Ollama's HTTP interface, on the standard library's client.

Its errors come in three ways: as a status with ``{"error": …}``, as a line of a stream that began with status 200, and
as a stream that ends without ``{"status": "success"}``.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Stage
from backprop.plan.export.ollama_address import VARIABLE, OllamaAddress, parse_address
from backprop.plan.export.ollama_models import OllamaModel, ShownModel, model_from, shown_from
from backprop.plan.redaction import redact

Emit = Callable[[Event], None]

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 900.0
"""Writing the layers of a large model takes a server minutes without a word."""
RETRY_WAITS = (0.5, 2.0, 8.0)
_PIECE = 2**20
_TENTHS = 10


class _Unreachable(Exception):
    """The connection failed or was cut; worth another try."""


@attrs.frozen
class Blob:
    """A file that the server has."""

    digest: str
    uploaded_bytes: int
    """0 when it had it before."""


@attrs.frozen
class Ollama:
    """A server of Ollama's. Every method raises ``BackpropError`` with ``code`` when the server fails."""

    address: OllamaAddress
    code: str = "DEP_OLLAMA_UNAVAILABLE"
    sleep: Callable[[float], None] = time.sleep

    def models(self) -> tuple[OllamaModel, ...]:
        """All models, as the server sorts them."""
        data = self._json("GET", "/api/tags")
        found = data.get("models")
        if not isinstance(found, list):
            raise self._failed("its answer to /api/tags holds no models")
        return tuple(model_from(each) for each in found if isinstance(each, Mapping))

    def show(self, name: str) -> ShownModel | None:
        """What it says of a model; None when it has none of the name."""
        data = self._json("POST", "/api/show", {"model": name}, missing_is_none=True)
        return None if data is None else shown_from(data, name=name)

    def delete(self, name: str) -> bool:
        """Remove a model; False when there is none of the name."""
        return self._json("DELETE", "/api/delete", {"model": name}, missing_is_none=True) is not None

    def ensure_blob(self, path: Path, *, emit: Emit) -> Blob:
        """Bring a file to the server unless it has one of the same content; a cut upload is tried again."""
        digest = _digest(path, emit)
        for wait in (*RETRY_WAITS, None):
            try:
                if self._has_blob(digest):
                    return Blob(digest, 0)
                return Blob(digest, self._upload(path, digest, emit))
            except _Unreachable as cut:
                if wait is None:
                    raise self._unreachable(cut) from cut
                self.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def create(self, body: Mapping[str, Any], *, emit: Emit) -> None:
        """Make a model. What fails leaves the server's models as they were."""
        last: Mapping[str, Any] = {}
        with self._connected() as connection:
            answer = self._ask(connection, "POST", "/api/create", json.dumps(body).encode())
            if answer.status != 200:
                raise self._refusal(answer.status, _read(answer))
            for line in self._lines(answer):
                last = line
                if "error" in line:
                    raise self._failed(f"it could not make {body['model']}: {line['error']}")
                status = str(line.get("status", ""))
                if status and status != "success":
                    emit(Stage(f"ollama: {status}"))
        if last.get("status") != "success":
            raise self._failed(f"it stopped in the middle of making {body['model']}")

    def _has_blob(self, digest: str) -> bool:
        with self._connecting() as connection:
            answer = _answer(connection, "HEAD", self.address.path + f"/api/blobs/{digest}")
            _read(answer)
        if answer.status not in (200, 404):
            raise self._refusal(answer.status, b"")
        return answer.status == 200

    def _upload(self, path: Path, digest: str, emit: Emit) -> int:
        size = path.stat().st_size
        with path.open("rb") as file, self._connecting() as connection:
            body = _pieces(file, size, lambda share: emit(Stage(f"uploading {path.name}: {share} %")))
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            answer = _answer(connection, "POST", self.address.path + f"/api/blobs/{digest}", body, headers)
            content = _read(answer)
        if answer.status not in (200, 201):
            raise self._refusal(answer.status, content)
        return size

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, missing_is_none: bool = False
    ) -> Any:
        with self._connected() as connection:
            answer = self._ask(connection, method, path, None if body is None else json.dumps(body).encode())
            content = _read(answer)
        if answer.status == 404 and missing_is_none:
            return None
        if answer.status != 200:
            raise self._refusal(answer.status, content)
        try:
            data = json.loads(content) if content else {}
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise self._failed(f"its answer to {path} is not what Ollama answers; is another program listening there?")
        return data

    def _connecting(self) -> _Connection:
        return _Connection(self.address)

    def _connected(self) -> _Connection:
        return _Connection(self.address, failed=self._unreachable)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return _answer(connection, method, self.address.path + path, body, headers)

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[Mapping[str, Any]]:
        """The objects of a stream, one a line; a stream that is cut just ends."""
        try:
            for line in answer:
                if line.strip():
                    data = json.loads(line)
                    if not isinstance(data, dict):
                        raise ValueError("no object")
                    yield data
        except (OSError, http.client.HTTPException):
            return
        except ValueError as wrong:
            raise self._failed("it sent a line that is not JSON") from wrong

    def _refusal(self, status: int, content: bytes) -> BackpropError:
        try:
            said = json.loads(content)["error"]
        except (ValueError, KeyError, TypeError):
            said = content[:200].decode("utf-8", "replace").strip()
        return self._failed(f"it answered with status {status}" + (f": {said}" if said else ""))

    def _failed(self, what: str) -> BackpropError:
        message = f"Ollama at {self.address} failed: {redact(what)}."
        return BackpropError(Problem(self.code, message, where=VARIABLE))

    def _unreachable(self, cause: BaseException) -> BackpropError:
        message = f"Ollama does not answer at {self.address}: {redact(str(cause))}."
        hint = f"Start it with `ollama serve`, or say where it listens with {VARIABLE}."
        return BackpropError(Problem(self.code, message, where=VARIABLE, hint=hint))


def connect(*, code: str = "DEP_OLLAMA_UNAVAILABLE", environ: Mapping[str, str] = os.environ) -> Ollama:
    """The server that OLLAMA_HOST names, else the one of this machine; nothing is asked yet."""
    address = parse_address(environ.get(VARIABLE, ""))
    if isinstance(address, Problem):
        raise BackpropError(address)
    return Ollama(address, code)


@attrs.define
class _Connection:
    """A connection for one exchange. What fails in it is :class:`_Unreachable`, or what ``failed`` makes of that."""

    address: OllamaAddress
    failed: Callable[[BaseException], BackpropError] | None = None
    _open: http.client.HTTPConnection | None = None

    def __enter__(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.address.secure else http.client.HTTPConnection
        self._open = kind(self.address.host, self.address.port, timeout=CONNECT_SECONDS)
        try:
            self._open.connect()
            self._open.sock.settimeout(ANSWER_SECONDS)
        except OSError as refused:
            self._open.close()
            cause = _Unreachable(refused.strerror or str(refused))
            raise (self.failed(cause) if self.failed else cause) from refused
        return self._open

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._open is not None
        self._open.close()
        if isinstance(error, _Unreachable) and self.failed is not None:
            raise self.failed(error) from error


def _answer(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> http.client.HTTPResponse:
    try:
        # A server that refuses in the middle of an upload has said why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body=body, headers=dict(headers or {}))
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as cut:
        raise _Unreachable(str(cut) or type(cut).__name__) from cut


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read()
    except (OSError, http.client.HTTPException) as cut:
        raise _Unreachable(str(cut)) from cut


def _pieces(file: IO[bytes], size: int, tell: Callable[[int], None]) -> Iterator[bytes]:
    """The file in pieces; each tenth of it is told."""
    done, told = 0, 0
    while piece := file.read(_PIECE):
        yield piece
        done += len(piece)
        if (tenth := done * _TENTHS // max(size, 1)) > told:
            told = tenth
            tell(tenth * 100 // _TENTHS)


def _digest(path: Path, emit: Emit) -> str:
    emit(Stage(f"reading {path.name}"))
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as wrong:
        problem = Problem("INPUT_VALIDATION_FAILED", f"{path} cannot be read: {wrong.strerror}.", where=str(path))
        raise BackpropError(problem) from wrong
