"""OLLAMA_HOST as Ollama's own programs read it."""

from __future__ import annotations

import pytest

from backprop.plan.decision import Problem
from backprop.plan.export.ollama_address import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("example.com", "http://example.com:11434"),
        ("example.com:80", "http://example.com:80"),
        (":1234", "http://127.0.0.1:1234"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:8443/ollama/", "https://example.com:8443/ollama"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9999", "http://127.0.0.1:9999"),
        ("[::1]:9", "http://[::1]:9"),
        (' "10.0.0.1" ', "http://10.0.0.1:11434"),
    ],
)
def test_an_address_is_completed_by_its_scheme(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize("text", ["ftp://example.com", "example.com:99999", "a b", "http://user:secret@host", "x:y"])
def test_what_is_no_address_is_told(text: str) -> None:
    problem = parse_address(text)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.where) == ("CONFIG_INVALID_SETTING", "OLLAMA_HOST")
