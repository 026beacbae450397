"""Where Ollama's server listens, as OLLAMA_HOST says it."""

from __future__ import annotations

import re

import attrs

from backprop.plan.decision import Problem

VARIABLE = "OLLAMA_HOST"
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 11434
_PORTS = {"http": 80, "https": 443}
_FORM = re.compile(
    r"(?:(?P<scheme>[A-Za-z]+)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]@?#]*)(?::(?P<port>[0-9]*))?(?P<path>/(?!/)[^\s?#]*)?"
)
_EVERYWHERE = {"0.0.0.0": DEFAULT_HOST, "::": "::1"}
"""What a server listens on is no address to ask."""


@attrs.frozen
class OllamaAddress:
    """A server's address. ``path`` goes before that of every request, for a server behind another."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    secure: bool = False
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"


def parse_address(text: str) -> OllamaAddress | Problem:
    """The address in OLLAMA_HOST: without a scheme http and port 11434, with one the scheme's own port."""
    value = text.strip().strip("\"'")
    found = _FORM.fullmatch(value)
    scheme = (found["scheme"] or "").lower() if found else ""
    port_text = (found["port"] or "") if found else ""
    port = int(port_text) if port_text else _PORTS.get(scheme, DEFAULT_PORT)
    if found is None or (scheme and scheme not in _PORTS) or not 0 < port < 65536:
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"{VARIABLE} is {text!r}, which is no address of a server.",
            where=VARIABLE,
            hint=f"Set it to host:port, such as {DEFAULT_HOST}:{DEFAULT_PORT}, or unset it.",
        )
    host = found["host"].strip("[]") or DEFAULT_HOST
    path = (found["path"] or "").rstrip("/")
    return OllamaAddress(_EVERYWHERE.get(host, host), port, scheme == "https", path)
