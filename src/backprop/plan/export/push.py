"""What of a directory belongs on the Hub, and under which name; everything else stays on this machine."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping

import attrs

from backprop.plan.decision import Problem, Refused, warning
from backprop.plan.export.trained import is_on_hub
from backprop.plan.facts.model_files import TOKENIZER_FILES

CARD = "README.md"
DEFAULT_BRANCH = "main"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_BRANCH = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]*[A-Za-z0-9_])?")
_LONGEST = 96


class Kind(enum.Enum):
    """What a directory holds."""

    ADAPTER = "adapter"
    MODEL = "model"
    GGUF = "gguf"


_TOKENIZER = "|".join(map(re.escape, TOKENIZER_FILES))
_MODEL_WEIGHTS = r"model[\w.-]*\.safetensors"
_ABOUT = r"README\.md|loss\.svg|LICENSE[\w.-]*|NOTICE[\w.-]*|USE_POLICY\.md|\.gitattributes"
_BELONGS: Mapping[Kind, re.Pattern[str]] = {
    Kind.ADAPTER: re.compile(rf"adapter_config\.json|adapter_model\.safetensors|{_TOKENIZER}|{_ABOUT}"),
    Kind.MODEL: re.compile(
        rf"config\.json|generation_config\.json|{_MODEL_WEIGHTS}(\.index\.json)?|"
        rf"(configuration|modeling|tokenization)_\w+\.py|{_TOKENIZER}|{_ABOUT}"
    ),
    Kind.GGUF: re.compile(rf"[\w.-]+\.gguf|Modelfile|{_ABOUT}"),
}
"""Names, not what is left out: a file that nobody has thought of is not published."""
_VOCABULARY = re.compile(r"tokenizer\.json|vocab\.(json|txt)|merges\.txt|added_tokens\.json")
_WEIGHTS = (".safetensors", ".gguf", ".model")


@attrs.frozen
class PushPlan:
    """A push that may begin."""

    repo: str
    directory: str
    kind: Kind
    files: tuple[str, ...]
    """Names in the directory, and in the repository."""
    left_out: tuple[str, ...]
    private: bool
    revision: str | None
    message: str


def kind_of(names: Iterable[str]) -> Kind | None:
    """What a directory with these files holds; None for nothing that can be pushed."""
    there = set(names)
    if "adapter_config.json" in there:
        return Kind.ADAPTER
    if "config.json" in there and any(re.fullmatch(_MODEL_WEIGHTS, name) for name in there):
        return Kind.MODEL
    return Kind.GGUF if any(name.endswith(".gguf") for name in there) else None


def plan_push(
    names: Iterable[str],
    *,
    directory: str,
    repo: str | None,
    include_base: bool,
    private: bool = False,
    revision: str | None = None,
    message: str,
    model_card: bool = True,
    is_gguf_adapter: bool = False,
) -> PushPlan | Refused:
    """Choose the files. ``names`` are those directly in ``directory``; a subdirectory ends with a slash.

    ``is_gguf_adapter``: the directory's GGUF files are adapters, without a base's weights.
    INPUT_VALIDATION_FAILED for a directory that holds nothing to push or a base that nobody asked to publish,
    HUB_PUSH_INVALID_REPO for names that the Hub cannot have.
    """
    there = sorted(names)
    kind = kind_of(there)
    problems = [problem for problem in (check_repo(repo), _check_branch(revision)) if problem]
    if kind is None:
        message_ = f"{directory} holds neither an adapter, a model nor a GGUF file."
        problems.append(Problem("INPUT_VALIDATION_FAILED", message_, where="PATH"))
    elif kind is not Kind.ADAPTER and not is_gguf_adapter and not include_base:
        message_ = f"{directory} holds a whole model, and only adapters are pushed without --include-base."
        hint = "Pass --include-base if the base's licence lets you publish its weights."
        problems.append(Problem("INPUT_VALIDATION_FAILED", message_, where="PATH", hint=hint))
    if problems or kind is None or repo is None:
        return Refused(tuple(problems))
    belongs = [name for name in there if _BELONGS[kind].fullmatch(name) and (model_card or name != CARD)]
    return PushPlan(
        repo=repo,
        directory=directory,
        kind=kind,
        files=tuple(belongs),
        left_out=tuple(name for name in there if name not in belongs),
        private=private,
        revision=revision,
        message=message,
    )


def check_base_name(name: str | None, *, is_directory: bool) -> tuple[Problem, ...]:
    """A warning for an adapter that leaves this machine with a base that only this machine has."""
    if name is None or (is_on_hub(name) and not is_directory):
        return ()
    message = f"The adapter names its base as {name}; where it is pushed to, nobody can load it by that."
    return (warning("INPUT_BASE_LOCAL", message, where="adapter_config.json"),)


def check_repo(repo: str | None) -> Problem | None:
    """Why the Hub cannot have a repository of this name; None when it can."""
    if repo is None:
        return Problem("INPUT_VALIDATION_FAILED", "--repo is missing.", where="--repo", hint="Name it: owner/name.")
    owner, slash, name = repo.partition("/")
    fits = slash and all(_NAME.fullmatch(part) and "--" not in part and ".." not in part for part in (owner, name))
    if fits and len(repo) <= _LONGEST and not name.endswith(".git"):
        return None
    return Problem("HUB_PUSH_INVALID_REPO", f"{repo!r} is not a name that a repository can have.", where="--repo")


def _check_branch(revision: str | None) -> Problem | None:
    if revision is None or (_BRANCH.fullmatch(revision) and not any(s in revision for s in ("..", "//", "@{"))):
        return None
    hint = "Name a branch in letters, digits, -, _, . and /."
    message = f"{revision!r} is not a name that a branch can have."
    return Problem("HUB_PUSH_INVALID_REPO", message, where="--hub-revision", hint=hint)


def is_text(name: str) -> bool:
    """Whether a file is looked through for secrets as text; of weights the header is."""
    return not name.endswith(_WEIGHTS)


def is_prose(name: str) -> bool:
    """Whether words that stand together in it mean something; in a vocabulary they do not."""
    return not _VOCABULARY.fullmatch(name)


def secret_problem(directory: str, name: str, secret: str) -> Problem:
    """HUB_PUSH_SECRET for a file that cannot leave."""
    message = f"{directory}/{name} holds what looks like a secret: {secret}"
    return Problem("HUB_PUSH_SECRET", message, where=name, hint="Take it out, and withdraw it where it was issued.")


def public_problem(repo: str) -> Problem:
    """INPUT_VALIDATION_FAILED for a repository that everybody can read and --private was given for."""
    message = f"{repo} exists and is public, and --private makes only a new repository private; nothing was pushed."
    hint = "Make it private in its settings on the Hub, name another with --repo, or leave --private out."
    return Problem("INPUT_VALIDATION_FAILED", message, where="--private", hint=hint)


@attrs.frozen
class PushReport:
    """What stands on the Hub now."""

    repo: str
    url: str
    commit: str
    revision: str
    kind: Kind
    private: bool
    """As asked; without it an existing repository stays as it is."""
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    num_bytes: int
    changed: bool = True
    """False when the branch had all of it already, so that no commit was made."""
