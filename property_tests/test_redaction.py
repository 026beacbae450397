"""Laws of redaction: no secret survives, twice is once, and what is no secret stays."""

from __future__ import annotations

import json
import string

from hypothesis import example, given
from hypothesis import strategies as st

from backprop.plan.redaction import MASK, redact, redact_data, redact_value

LETTERS = string.ascii_letters + string.digits
KEYS = ("password", "PASSWD", "client_secret", "HF_TOKEN", "access_token", "api_key", "API-KEY", "apikey", "access_key")
AROUND = st.sampled_from(("", " ", "\n", "(", "error: ", "…", "\t", "é "))


def letters(low: int, high: int, alphabet: str = LETTERS) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=low, max_size=high)


@st.composite
def secrets(draw: st.DrawFn) -> tuple[str, str]:
    """A text that holds a secret, and the secret."""
    prefix, alphabet = draw(
        st.sampled_from(
            (
                ("hf_", LETTERS),
                ("sk-", LETTERS + "-_"),
                ("sk-proj-", LETTERS),
                ("ghp_", LETTERS),
                ("github_pat_", LETTERS + "_"),
                ("AKIA", string.ascii_uppercase + string.digits),
            )
        )
    )
    key = prefix + draw(letters(16, 40, alphabet))
    plain = draw(letters(9, 20, LETTERS + "!#$%^*+-._~@"))
    name = draw(st.sampled_from(KEYS))
    return draw(
        st.sampled_from(
            (
                (key, key),
                (f"Bearer {plain}", plain),
                (f"Authorization: bearer {plain}", plain),
                (f"{name}={plain}", plain),
                (f"{name}: {plain}", plain),
                (f'{{"{name}": "{plain}"}}', plain),
                (f"{{'{name}': 'pass phrase {plain}'}}", plain),
                (json.dumps(json.dumps({name: plain})), plain),
                (f"https://host/path?x=1&{name}={plain}&y=2", plain),
                (f"https://user:{plain}@host/path", plain),
                (f"postgres://{plain}:{plain}@host", plain),
            )
        )
    )


TEXTS = secrets().map(lambda s: s[0]) | st.text(max_size=8)


@given(secrets(), AROUND, AROUND)
@example(("https://user:p@ss@host", "ss@"), "", "")
@example(('password="two words"', "words"), "", "")
@example(('{"token": "a\\"bcd"}', "bcd"), "", "")
def test_no_secret_survives(secret: tuple[str, str], before: str, after: str) -> None:
    text, hidden = secret
    masked = redact(f"{before}{text}{after}")
    assert hidden not in masked
    assert MASK in masked
    assert redact(masked) == masked


@given(st.lists(TEXTS | st.sampled_from(tuple("\"'=:@ /\\")), max_size=8))
@example(["AKIA0000000000000000", "hf_0000000000000000"])
def test_redacting_twice_is_redacting_once(parts: list[str]) -> None:
    once = redact("".join(parts))
    assert redact(once) == once


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_data_stays_json_and_keeps_its_shape(data: object) -> None:
    masked = redact_data(data)
    assert redact_data(json.loads(json.dumps(masked))) == masked


@given(secrets())
def test_a_variable_that_is_named_a_secret_is_masked_whole(secret: tuple[str, str]) -> None:
    assert redact_value("SERVICE_PASSWORD", f"one {secret[1]} two") == MASK
    assert redact_value("BACKPROPAGATE_UI_AUTH", f"user:{secret[1]}") == MASK
    assert secret[1] not in redact_value("NAME", secret[0])
    assert redact_value("SERVICE_PASSWORD", "") == ""


@given(st.text(string.ascii_lowercase + " .,/-0123456789", max_size=60).filter(lambda t: "sk-" not in t))
@example("https://huggingface.co/Qwen/Qwen2.5-7B-Instruct:main")
@example("tokens: 12, num_tokens=4, tokenizer.json")
@example("C:/Users/me@home/model")
def test_what_holds_no_secret_stays(text: str) -> None:
    if "bearer" not in text:
        assert redact(text) == text
