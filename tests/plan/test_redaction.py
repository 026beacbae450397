"""Which texts are secrets, by example."""

from __future__ import annotations

import pytest

from backprop.plan.redaction import find_secret, redact, redact_data


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("hf_abcdefghijkl and more", "[redacted] and more"),
        ("key sk-proj-abcdefgh1234", "key [redacted]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("ghp_abcdefgh12345678", "[redacted]"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("https://me:pw@host:80/x?token=abc&y=1", "https://[redacted]@host:80/x?token=[redacted]&y=1"),
        ("https://me@mail.org:p@ss@host/x", "https://[redacted]@host/x"),
        ('password = "two words", user = "me"', 'password = "[redacted]", user = "me"'),
        ('{"api_key": "a\\"b", "n": 1}', '{"api_key": "[redacted]", "n": 1}'),
        ("{'HF_TOKEN': 'abc'}", "{'HF_TOKEN': '[redacted]'}"),
        ('{\\"token\\": \\"abc\\", \\"n\\": 1}', '{\\"token\\": \\"[redacted]\\", \\"n\\": 1}'),
    ],
)
def test_a_secret_is_masked_and_what_is_around_it_stays(text: str, masked: str) -> None:
    assert redact(text) == masked


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    for text in ("a" * 10**6, "token " * 10**5, "://a:" * 10**4, "token" + " " * 10**5, 'password="' * 10**4):
        redact(text)  # a pattern that backtracks would never end


def test_numbers_and_keys_of_data_stay() -> None:
    assert redact_data({"token": 5, "m": ["password=x", None, 0.5]}) == {
        "token": 5,
        "m": ["password=[redacted]", None, 0.5],
    }


@pytest.mark.parametrize(
    "text",
    [
        "hf_abcdefghijklmnopqrstuvwxyz",
        "sk-proj-abcdefghij0123456789",
        "AKIAABCDEFGHIJKLMNOP",
        "ghp_abcdefghijklmnopqrstuvwxyz",
        "-----BEGIN RSA PRIVATE KEY-----",
        "https://ann:secret@example.com/x",
        '{"api_key": "0123456789"}',
        "Authorization: Bearer abcdefghijklmnopqrstuvwxyz",
        "password = hunter2hunter2",
    ],
)
def test_a_secret_in_a_file_is_found_and_not_shown(text: str) -> None:
    found = find_secret(f"before {text} after")
    assert found is not None
    assert len(found) <= 7


@pytest.mark.parametrize(
    "text",
    [
        '{"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}',
        "a task-specific, risk-averse model; see sk-learn-contributions",
        "https://example.com:8080/a@b",
        "password: [redacted]",
        "hf_hub_download(repo_id)",
    ],
)
def test_ordinary_words_of_a_model_directory_are_no_secrets(text: str) -> None:
    assert find_secret(text) is None


def test_a_vocabulary_is_searched_for_keys_alone() -> None:
    assert find_secret('"password": 12345678,', prose=False) is None
    assert find_secret('"hf_abcdefghijklmnopqrstuvwxyz": 1', prose=False) is not None
