"""Pushing to the Hub with its own client: the repository and the branch are made, and all files come in one commit."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import huggingface_hub
from huggingface_hub.utils.tqdm import disable_progress_bars

from backprop.effects.probe.gguf_file import observe_gguf
from backprop.plan.decision import Problem, warning
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Stage
from backprop.plan.export.push import CARD, PushPlan, is_prose, is_text, public_problem, secret_problem
from backprop.plan.redaction import find_secret, redact

T = TypeVar("T")
RETRY_WAITS = (1.0, 4.0, 16.0)
"""The client itself tries again within an upload; these are for what it does not."""
_LONGEST_HEADER = 100 * 2**20

_BY_CLASS = {
    "HFValidationError": ("HUB_PUSH_INVALID_REPO", "The Hub does not take the name {repo}."),
    "OfflineModeIsEnabled": ("HUB_PUSH_NETWORK", "Nothing can be pushed while HF_HUB_OFFLINE is set."),
    "TimeoutException": ("HUB_PUSH_NETWORK", "The Hub did not answer in time."),
    "TransportError": ("HUB_PUSH_NETWORK", "The connection to the Hub failed or was cut."),
    "ConnectionError": ("HUB_PUSH_NETWORK", "The connection to the Hub failed or was cut."),
}
"""By the names of classes, since the client loads its errors late."""
_BY_STATUS = {
    401: ("HUB_PUSH_AUTH", "The Hub does not accept the token (401)."),
    403: ("HUB_PUSH_AUTH", "The token may not write to {repo} (403)."),
    404: ("HUB_PUSH_NOT_FOUND", "The Hub has no {repo} that this token may write to (404)."),
    429: ("HUB_PUSH_NETWORK", "The Hub asks for a pause (429)."),
}
_RETRIED = frozenset({"HUB_PUSH_NETWORK"})


@attrs.frozen
class Pushed:
    """The commit that holds the files."""

    url: str
    commit: str
    num_bytes: int
    changed: bool
    """A commit was made; else the branch had all of it."""


def find_token(*, given: str | None, file: str | None, flag: str = "--token") -> tuple[str, tuple[Problem, ...]]:
    """The token of the flag, of the file, of HF_TOKEN or of the login, in this order, and what is to be said of it.

    ``flag`` is what the token is given with; the file's is ``flag-file``. Raises INPUT_VALIDATION_FAILED for a file
    that holds none, HUB_PUSH_AUTH when there is none at all.
    """
    warnings: tuple[Problem, ...] = ()
    where = flag if given else "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the login of `hf auth login`"
    if file is not None:
        where = f"{flag}-file"
        given, warnings = _token_in(Path(file).expanduser(), where)
    token = given or huggingface_hub.get_token()
    if not token:
        raise BackpropError(Problem("HUB_PUSH_AUTH", "There is no token to push with."))
    if not token.isascii() or any(c.isspace() for c in token.strip()):
        message = "What was given as a token is none, for it has blanks or letters that no token has."
        hint = "Give the token alone, on one line, as huggingface.co/settings/tokens shows it."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where=where, hint=hint))
    return token.strip(), warnings


def _token_in(path: Path, where: str) -> tuple[str, tuple[Problem, ...]]:
    hint = "Name a file that holds the token alone."
    try:
        text, mode = path.read_text("utf-8").strip(), stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) else "it is not text"
        message = f"{path} cannot be read: {reason}."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where=where, hint=hint)) from wrong
    if not text:
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", f"{path} is empty.", where=where, hint=hint))
    if os.name == "nt" or not mode & (stat.S_IRWXG | stat.S_IRWXO):  # Windows says of every file that others may
        return text, ()
    message = f"{path} has mode {mode:04o}: others on this machine can read the token in it."
    return text, (warning("INPUT_TOKEN_FILE_OPEN", message, hint=f"Run chmod 600 {path}"),)


def check_secrets(plan: PushPlan) -> None:
    """Look through everything that would leave. Raises HUB_PUSH_SECRET with each file that holds a secret."""
    problems = []
    for name in plan.files:
        secret = find_secret(_readable(Path(plan.directory) / name), prose=is_prose(name))
        if secret is not None:
            problems.append(secret_problem(plan.directory, name, secret))
    if problems:
        raise BackpropError(*problems)


def _readable(path: Path) -> str:
    """A file's text; of weights what the header says beside the tensors, in GGUF files the chat template."""
    if path.suffix == ".gguf":
        return "\n".join(f"{key}: {value}" for key, value in observe_gguf(path).metadata.items())
    try:
        if is_text(path.name):
            return path.read_text("utf-8", errors="replace")
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if path.suffix != ".safetensors" or length > _LONGEST_HEADER:
                return ""
            header = json.loads(file.read(length))
        return json.dumps(header.get("__metadata__", {}))
    except (OSError, ValueError, AttributeError) as wrong:
        problem = Problem("INPUT_VALIDATION_FAILED", f"{path} cannot be read: {redact(str(wrong))}.", where=str(path))
        raise BackpropError(problem) from wrong


def push(
    plan: PushPlan,
    *,
    token: str,
    card: str | None = None,
    emit: Callable[[Event], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Push the planned files, and ``card`` as the model card where the directory has none.

    All files come in one commit: a push that fails leaves the repository's files as they were. Raises HUB_PUSH_AUTH,
    HUB_PUSH_INVALID_REPO, HUB_PUSH_NOT_FOUND, HUB_PUSH_NETWORK, HUB_PUSH_UNKNOWN, and INPUT_VALIDATION_FAILED for a
    repository that is public where a private one was asked for.
    """
    api: Any = huggingface_hub.HfApi(token=token)
    disable_progress_bars()
    huggingface_hub.logging.get_logger("huggingface_hub.hf_api").addFilter(_is_news)

    def tried(what: Callable[[], T]) -> T:
        for wait in (*RETRY_WAITS, None):
            try:
                with _translated(plan.repo):
                    return what()
            except BackpropError as error:
                if wait is None or error.problems[0].code not in _RETRIED:
                    raise
                emit(Stage(f"the Hub cannot be reached; trying again in {wait:g} s"))
                sleep(wait)
        raise AssertionError("the last try returns or raises")

    emit(Stage(f"making {plan.repo}"))
    tried(lambda: api.create_repo(plan.repo, private=plan.private or None, exist_ok=True))
    if plan.private and not tried(lambda: api.repo_info(plan.repo)).private:
        raise BackpropError(public_problem(plan.repo))
    if plan.revision is not None:
        tried(lambda: api.create_branch(plan.repo, branch=plan.revision, exist_ok=True))
    sizes = sum((Path(plan.directory) / name).stat().st_size for name in plan.files)
    before = tried(lambda: api.repo_info(plan.repo, revision=plan.revision)).sha
    emit(Stage(f"uploading {len(plan.files)} files"))
    done = tried(
        lambda: api.create_commit(
            plan.repo, _operations(plan, card), commit_message=plan.message, revision=plan.revision
        )
    )
    url = f"{api.endpoint}/{plan.repo}" + (f"/tree/{plan.revision}" if plan.revision else "")
    return Pushed(url, str(done.oid), sizes + len((card or "").encode()), changed=done.oid != before)


def _is_news(record: logging.LogRecord) -> bool:
    """What the report says in its own words is not said twice."""
    return "No files have been modified" not in record.getMessage()


def _operations(plan: PushPlan, card: str | None) -> list[Any]:
    """Anew for each try: the client marks what it has sent."""
    add = huggingface_hub.CommitOperationAdd
    files = [add(name, str(Path(plan.directory) / name)) for name in plan.files]
    return files if card is None else [*files, add(CARD, card.encode())]


@contextmanager
def _translated(repo: str) -> Iterator[None]:
    try:
        yield
    except BackpropError:
        raise
    except Exception as error:  # the client and what it uploads with raise what they like
        code, message = _row(error)
        where = repo if code == "HUB_PUSH_NOT_FOUND" else ""
        raise BackpropError(Problem(code, message.replace("{repo}", repo), where=where)) from error


def _row(error: BaseException) -> tuple[str, str]:
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            if status >= 500:
                return "HUB_PUSH_NETWORK", f"The Hub cannot serve the push now ({status})."
            known = _BY_STATUS.get(status)
            return known or ("HUB_PUSH_UNKNOWN", f"The Hub refused the push ({status}): {_words(error)}.")
        named = next((_BY_CLASS[base.__name__] for base in type(cause).__mro__ if base.__name__ in _BY_CLASS), None)
        if named is not None:
            return named
    return "HUB_PUSH_UNKNOWN", f"The push failed: {_words(error)}."


def _words(error: BaseException) -> str:
    """What the outermost error says, in one line."""
    return redact(" ".join(str(error).split())[:300].rstrip(".") or type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The innermost first: it says more than what was wrapped around it."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__
    return reversed(seen)
