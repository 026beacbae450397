"""Lines that are JSON, nearly JSON, or JSON that says something doubtful; and files of them."""

from __future__ import annotations

import json

from hypothesis import strategies as st

_PIECES = (
    *("{", "}", "[", "]", ",", ":", '"', " ", "\t", "\r", "\\", "\\u", "\\ud83d", "\\ude00", "\\u0022", '\\"', '\\\\"'),
    *("null", "true", "NaN", "-Infinity", "1", "-0", "0.5", "1e999", "1E5", "18446744073709551616", "9" * 40),
    *('"a"', '"a":', '"a" :', '"":', '"\\\\":', '"role"', '"content"', "é", "\u2028", "\x00", "\x7f", "\ufeff", "😀"),
)

_KEYS = st.sampled_from(("a", "b", "", "\\", '"', "a:", '":', "é"))
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from((":", '":"', '"', "\\", '\\"', "{[")),
)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4))


@st.composite
def doubled(draw: st.DrawFn) -> str:
    """An object written by hand, so that keys may stand twice, with blanks anywhere."""
    blank = st.sampled_from(("", " ", "\t", "\r", "  "))
    members = draw(st.lists(st.tuples(_KEYS, _VALUES), max_size=4))
    parts = [f"{draw(blank)}{json.dumps(key)}{draw(blank)}:{draw(blank)}{json.dumps(v)}" for key, v in members]
    return "{" + ",".join(parts) + draw(blank) + "}"


@st.composite
def nested(draw: st.DrawFn) -> str:
    """Brackets around the greatest depth that is read, some in strings."""
    depth = draw(st.integers(195, 205) | st.just(10_000))
    opening, closing = draw(st.sampled_from((("[", "]"), ('{"a":', "}"), ('["[{",', "]"))))
    return opening * depth + "1" + closing * depth


def json_texts() -> st.SearchStrategy[str]:
    """Text that a line may hold."""
    return st.one_of(
        _VALUES.map(json.dumps),
        _VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)),
        doubled(),
        nested(),
        st.lists(st.sampled_from(_PIECES), max_size=20).map("".join),
    )


def json_lines() -> st.SearchStrategy[bytes]:
    """A line's bytes without its end."""
    encoded = json_texts().map(lambda text: text.encode("utf-8", "surrogatepass"))
    return (encoded | st.binary(max_size=40)).map(lambda line: line.replace(b"\n", b" "))
