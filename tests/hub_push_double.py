"""A Hub on this machine that takes what is pushed: repositories, branches, LFS objects, commits.

Endpoints and answers are those of huggingface_hub 2.4; uploads go through LFS, for which HF_HUB_DISABLE_XET is set.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import attrs
import yaml  # type: ignore[import-untyped]

from tests.hub_double import answering

WRITER, READER = "hf_writerwriterwriterwriter", "hf_readerreaderreaderreader"
LARGE = (".safetensors", ".gguf")


@attrs.define
class Repository:
    """Branches with their files."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = attrs.field(factory=lambda: {"main": {}})
    commits: list[tuple[str, str]] = attrs.field(factory=list)
    """(branch, message)"""


@attrs.define
class PushHub:
    """What the Hub has, and what goes wrong next."""

    url: str = ""
    owner: str = "ann"
    """The only account that the tokens may write for."""
    repositories: dict[str, Repository] = attrs.field(factory=dict)
    objects: dict[str, bytes] = attrs.field(factory=dict)
    requests: list[tuple[str, str]] = attrs.field(factory=list)
    failures: dict[str, list[int]] = attrs.field(factory=dict)
    """Statuses of the next answers, by a part of the path; 0 closes the connection."""

    def uploads(self) -> int:
        """How many large objects were sent."""
        return sum(method == "PUT" for method, _ in self.requests)


@contextmanager
def serving() -> Iterator[PushHub]:
    """A Hub that answers until the context ends."""
    hub = PushHub()

    class Handler(_Handler):
        state = hub

    with answering(Handler) as hub.url:
        yield hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: PushHub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self._begins():
            self._answer(self._repo_info)

    def do_PUT(self) -> None:
        if self._begins():
            oid = self.path.rpartition("/")[2]
            assert "Authorization" not in self.headers, "storage is another host's, and gets no token"
            self.state.objects[oid] = self._body()
            self._send(200, {} if hashlib.sha256(self.state.objects[oid]).hexdigest() == oid else {"error": "digest"})

    def do_POST(self) -> None:
        if self._begins():
            self._answer(self._post)

    def _begins(self) -> bool:
        path = self.path.partition("?")[0]
        self.state.requests.append((self.command, path))
        waiting = next((left for part, left in self.state.failures.items() if part in path and left), None)
        if waiting is None:
            return True
        status = waiting.pop(0)
        self._body()
        self.close_connection = True
        if status:
            self._send(status, {"error": f"made to fail with {status}"})
        else:
            self.connection.close()
        return False

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while length := int(self.rfile.readline(), 16):
                content += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, work: Callable[[str, bytes], tuple[int, Mapping[str, Any]]]) -> None:
        path, body = self.path.partition("?")[0], self._body()
        status, data = work(path, body)
        self._send(status, data)

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _denied(self, owner: str) -> tuple[int, Mapping[str, Any]] | None:
        if self._token() not in (WRITER, READER):
            return 401, {"error": "Invalid credentials in Authorization header"}
        if self._token() == READER or owner != self.state.owner:
            return 403, {"error": "You don't have the rights to write here"}
        return None

    def _repo_info(self, path: str, _: bytes) -> tuple[int, Mapping[str, Any]]:
        name = path.removeprefix("/api/models/").partition("/revision/")[0]
        if name not in self.state.repositories:
            return 404, {"error": "Repository not found"}
        repository = self.state.repositories[name]
        sha = f"{len(repository.commits):040x}"
        return 200, {"id": name, "sha": sha, "siblings": [], "private": repository.private}

    def _post(self, path: str, body: bytes) -> tuple[int, Mapping[str, Any]]:
        for pattern, handle in _POSTS:
            if found := re.fullmatch(pattern, path):
                return handle(self, body, *found.groups())
        return 404, {"error": "no such page"}

    def _create(self, body: bytes) -> tuple[int, Mapping[str, Any]]:
        asked = json.loads(body)
        denied = self._denied(asked["organization"])
        if denied:
            return denied
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.state.url}/{name}"}
        if name in self.state.repositories:
            return 409, {"error": "You already created this model repo", **url}
        self.state.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return 200, url

    def _branch(self, _: bytes, name: str, branch: str) -> tuple[int, Mapping[str, Any]]:
        repository = self.state.repositories[name]
        branch = branch.replace("%2F", "/")
        if branch in repository.branches:
            return 409, {"error": "Reference already exists"}
        repository.branches[branch] = dict(repository.branches["main"])
        return 200, {}

    def _validate(self, body: bytes) -> tuple[int, Mapping[str, Any]]:
        """The metadata of a card, as far as its schema is known here."""
        _, _, rest = json.loads(body)["content"].partition("---\n")
        try:
            metadata = yaml.safe_load(rest.partition("\n---")[0])
        except yaml.YAMLError as wrong:
            return 400, {"errors": [{"message": str(wrong)}], "warnings": []}
        base = (metadata or {}).get("base_model", "a/b")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", base):
            return 400, {"errors": [{"message": f'"base_model" {base} is not valid'}], "warnings": []}
        return 200, {"errors": [], "warnings": []}

    def _preupload(self, body: bytes, name: str, revision: str) -> tuple[int, Mapping[str, Any]]:
        denied = self._denied(name.partition("/")[0])
        if denied:
            return denied
        files = self.state.repositories[name].branches.get(revision.replace("%2F", "/"))
        if files is None:
            return 404, {"error": "Invalid rev id"}
        return 200, {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(file["path"], files[file["path"]]) if file["path"] in files else None,
                }
                for file in json.loads(body)["files"]
            ]
        }

    def _batch(self, body: bytes, _: str) -> tuple[int, Mapping[str, Any]]:
        actions = {
            "upload": {"href": f"{self.state.url}/storage/"},
            "verify": {"href": f"{self.state.url}/verify"},
        }
        objects = []
        for each in json.loads(body)["objects"]:
            upload = {**actions, "upload": {"href": actions["upload"]["href"] + each["oid"]}}
            objects.append({**each, **({} if each["oid"] in self.state.objects else {"actions": upload})})
        return 200, {"transfer": "basic", "objects": objects}

    def _verify(self, body: bytes) -> tuple[int, Mapping[str, Any]]:
        asked = json.loads(body)
        there = len(self.state.objects.get(asked["oid"], b"")) == asked["size"]
        return (200, {}) if there else (404, {"error": "object not found"})

    def _commit(self, body: bytes, name: str, revision: str) -> tuple[int, Mapping[str, Any]]:
        lines = [json.loads(line) for line in body.splitlines()]
        branch = revision.replace("%2F", "/")
        changed = dict(self.state.repositories[name].branches[branch])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile", line
                changed[value["path"]] = self.state.objects[value["oid"]]
        repository = self.state.repositories[name]
        repository.branches[branch] = changed
        repository.commits.append((branch, lines[0]["value"]["summary"]))
        oid = f"{len(repository.commits):040x}"
        return 200, {"success": True, "commitUrl": f"{self.state.url}/{name}/commit/{oid}", "commitOid": oid}

    def _send(self, status: int, data: Mapping[str, Any]) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        headers = {401: {"X-Error-Message": str(data.get("error"))}, 404: {"X-Error-Code": "RepoNotFound"}}
        for name, value in {"Content-Length": str(len(content)), **headers.get(status, {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


_POSTS: tuple[tuple[str, Callable[..., tuple[int, Mapping[str, Any]]]], ...] = (
    (r"/api/repos/create", _Handler._create),
    (r"/api/validate-yaml", _Handler._validate),
    (r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", _Handler._branch),
    (r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", _Handler._preupload),
    (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler._batch),
    (r"/verify", _Handler._verify),
    (r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", _Handler._commit),
)


def _oid(path: str, content: bytes) -> str:
    """By which the client knows that a file has not changed: git's of a small file, SHA-256 of a large one."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
