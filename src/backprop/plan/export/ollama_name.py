"""The names of models in Ollama: ``[host/][namespace/]model[:tag]``, as its server takes them."""

from __future__ import annotations

import re

import attrs

from backprop.plan.decision import Problem

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
RESERVED_TAGS = frozenset({"local", "cloud"})
"""Tags that say where a model runs; a model of one's own cannot have them."""
MAX_LENGTH = 80

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[0-9]{1,5})?")
_RULES = (
    ("host", _HOST, "letters, digits, _, - and ."),
    ("namespace", _NAMESPACE, "letters, digits, _ and -"),
    ("model", _PART, "letters, digits, _, - and ."),
    ("tag", _PART, "letters, digits, _, - and ."),
)
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


@attrs.frozen
class OllamaName:
    """A name in its parts. Names are compared by :attr:`key`, since letters of both cases are the same."""

    model: str
    tag: str = DEFAULT_TAG
    namespace: str = ""
    host: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.host, self.namespace, f"{self.model}:{self.tag}") if part)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Equal for names of the same model, whatever stands at its default."""
        whole = (self.host or DEFAULT_HOST, self.namespace or DEFAULT_NAMESPACE, self.model, self.tag)
        host, namespace, model, tag = (part.lower() for part in whole)
        return host, namespace, model, tag


def parse_name(text: str, *, where: str = "--name") -> OllamaName | Problem:
    """The name in ``text``, with ``:latest`` where it has no tag; INPUT_VALIDATION_FAILED for what Ollama refuses."""
    path, slash, last = text.rpartition("/")
    model, colon, tag = last.partition(":")
    parts = path.split("/") if slash else []
    if len(parts) > 2:
        return _refused(text, "it has more than host/namespace/model", where)
    name = OllamaName(
        model=model,
        tag=tag if colon else DEFAULT_TAG,
        namespace=parts[-1] if parts else "",
        host=parts[0] if len(parts) == 2 else "",
    )
    optional = {"host": len(parts) == 2, "namespace": bool(parts), "model": True, "tag": True}
    for field, pattern, allowed in _RULES:
        value: str = getattr(name, field)
        if optional[field] and not (pattern.fullmatch(value) and len(value) <= MAX_LENGTH):
            rule = f"its {field} {value!r} must begin with a letter, a digit or _, hold only {allowed}"
            return _refused(text, f"{rule}, and be at most {MAX_LENGTH} characters long", where)
    if name.tag.lower() in RESERVED_TAGS:
        return _refused(text, f'Ollama keeps the tag "{name.tag}" for itself', where)
    return name


def part_from(text: str) -> str:
    """``text`` as a model's name or tag: what cannot stand in one becomes a dash. Idempotent; never empty."""
    fitted = _UNFIT.sub("-", text)[: MAX_LENGTH + 1].lstrip("-.").rstrip("-.")[:MAX_LENGTH].rstrip("-.") or "model"
    return f"{fitted}-model"[:MAX_LENGTH] if fitted.lower() in RESERVED_TAGS else fitted


def shelf_name(base: OllamaName, adapter: str) -> OllamaName:
    """The name of an adapter on ``base``'s shelf: ``base:adapter``; it may be one that Ollama refuses.

    A base that has a tag of its own keeps it before the adapter's, ``llama3.2:1b-task``: an adapter of another size
    is another adapter.
    """
    own = "" if base.tag.lower() == DEFAULT_TAG else f"{base.tag}-"
    return attrs.evolve(base, tag=own + adapter)


def is_on_shelf(name: OllamaName, base: OllamaName) -> bool:
    """Whether ``name`` can be an adapter on ``base``'s shelf, by its name alone; the base itself is not."""
    if name.key[:3] != base.key[:3] or name.key == base.key:
        return False
    return base.tag.lower() == DEFAULT_TAG or name.key[3].startswith(f"{base.key[3]}-")


def _refused(text: str, why: str, where: str) -> Problem:
    message = f"{text!r} cannot be the name of a model in Ollama: {why}."
    return Problem("INPUT_VALIDATION_FAILED", message, where=where, hint="Choose a name such as my-model:v1.")
