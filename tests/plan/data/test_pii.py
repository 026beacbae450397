"""Personal data and secrets are found by kind, and not where there are none."""

from __future__ import annotations

import time

import pytest

from backprop.plan.data.pii import SECRETS, PiiKind, count_pii, find_pii

FOUND = [
    (PiiKind.EMAIL, "bob.smith+x@mail.example.co.uk"),
    (PiiKind.PHONE, "+49 30 1234567"),
    (PiiKind.PHONE, "+1 (415) 555-2671"),
    (PiiKind.PHONE, "(555) 123-4567"),
    (PiiKind.PHONE, "415.555.2671"),
    (PiiKind.CREDIT_CARD, "4111 1111 1111 1111"),
    (PiiKind.CREDIT_CARD, "378282246310005"),
    (PiiKind.CREDIT_CARD, "5555-5555-5555-4444"),
    (PiiKind.IBAN, "DE89 3704 0044 0532 0130 00"),
    (PiiKind.IBAN, "GB29NWBK60161331926819"),
    (PiiKind.IBAN, "GB29 NWBK 6016 1331 9268 19"),
    (PiiKind.IBAN, "FR1420041010050500013M02606"),
    (PiiKind.IPV4, "192.168.1.10"),
    (PiiKind.US_SSN, "078-05-1120"),
    (PiiKind.PRIVATE_KEY, "-----BEGIN RSA PRIVATE KEY-----\nabc=\n-----END RSA PRIVATE KEY-----"),
    (PiiKind.PRIVATE_KEY, "-----BEGIN PRIVATE KEY-----"),
    (PiiKind.HUGGING_FACE_TOKEN, "hf_abcdefghijKLmnop1234"),
    (PiiKind.SK_KEY, "sk-proj-abc123abc123abc123"),
    (PiiKind.GITHUB_TOKEN, "ghp_" + "a1" * 18),
    (PiiKind.GITHUB_TOKEN, "github_pat_11ABCDEFG0_abcdefghijklmnop"),
    (PiiKind.AWS_KEY, "AKIAIOSFODNN7EXAMPLE"),
    (PiiKind.JWT, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"),
]


@pytest.mark.parametrize(("kind", "value"), FOUND)
@pytest.mark.parametrize("around", ["{}", "It is {}.", "({})", "“{}”, and\nmore", "日本{}語"])
def test_a_value_is_found_whole_and_by_its_kind(kind: PiiKind, value: str, around: str) -> None:
    text = around.format(value)
    assert [(span.kind, text[span.start : span.stop]) for span in find_pii(text)] == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 fails Luhn's check",
        "DE89 3704 0044 0532 0130 01 fails its check digits",
        "000-12-1234 and 666-12-1234 and 123-00-1234 were never given out",
        "256.1.1.1, 1.2.3, 1.2.3.4.5 and version 10.2.3.4-5",
        "from 2010-2015, on 2024-01-02 at 03:04:05",
        "1,234,567 or 3.14159265 or 12345678901234567890123",
        "hf_hub_download, hf_transfer, sk-learn-contrib, skeleton, ghp_short",
        "@ home, a@b, user@localhost, @property",
        "AKIA, AKIAshort, eyJhbGci",
        "-----BEGIN CERTIFICATE-----",
        "",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert find_pii(text) == ()


def test_several_are_counted_each() -> None:
    text = "a@b.org, c@d.org; 555-123-4567 415.555.2671; 10.0.0.1 10.0.0.2"
    assert count_pii(text) == {PiiKind.EMAIL: 2, PiiKind.PHONE: 2, PiiKind.IPV4: 2}


def test_kinds_that_open_a_door_are_secrets_and_those_that_name_a_person_are_not() -> None:
    assert {kind for kind, value in FOUND if kind in SECRETS} == SECRETS
    assert not SECRETS & {PiiKind.EMAIL, PiiKind.PHONE, PiiKind.IBAN, PiiKind.CREDIT_CARD, PiiKind.IPV4}


@pytest.mark.parametrize(
    "piece",
    [
        *("1 ", "1.1.1.1.", "a@", "a.b@c.", "DE12 ABCD ", "AKIA", "eyJ-", "eyJaaaaaaaa.", "-----BEGIN ", "sk-", "+1"),
        *("hf_a", "x@a-", "ghp_a-", "1-", "a", "0123456789"),
    ],
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def seconds(count: int) -> float:
        text = piece * count
        start = time.process_time()
        find_pii(text)
        return time.process_time() - start

    assert min(seconds(40_000) for _ in range(2)) < 2.0  # what is quadratic takes minutes
