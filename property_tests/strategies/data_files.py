"""Files of rows, well made and then damaged: (suffix, bytes)."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.parquet
import zstandard
from hypothesis import strategies as st

from property_tests.strategies.json_lines import json_lines

_TEXTS = st.text(max_size=12) | st.sampled_from(
    ("<think>", "</think>", "<|im_start|>user\nx<|im_end|>", "<|im_start|>", "[INST]", "<s>", "\x1b[31m", "\x00")
)
_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS, st.lists(_TEXTS, max_size=2), st.just([]), st.just({})
)
_TURN_KEYS = st.sampled_from(
    (
        *("role", "from", "content", "value", "weight", "tool_calls"),
        *("reasoning_content", "thinking", "name", "type", "text"),
    )
)
_ROLES = st.sampled_from(("system", "user", "assistant", "human", "gpt", "tool", "ASSISTANT", "usr", ""))
_TURNS = st.one_of(
    st.fixed_dictionaries({"role": _ROLES, "content": _TEXTS}),
    st.fixed_dictionaries({"from": _ROLES, "value": _TEXTS}),
    st.dictionaries(_TURN_KEYS, _ODD | st.lists(st.dictionaries(_TURN_KEYS, _ODD, max_size=3), max_size=2), max_size=5),
    _ODD,
)
_CONVERSATIONS = st.lists(_TURNS, max_size=4) | _ODD
_ROW_KEYS = st.sampled_from(
    (
        *("text", "instruction", "input", "output", "response", "prompt", "completion", "label"),
        *("chosen", "rejected", "messages", "conversations", "conversation", "tools", "system"),
    )
)


def rows() -> st.SearchStrategy[Any]:
    """Rows of every layout, each place of which may hold what does not belong there."""
    return st.one_of(
        st.fixed_dictionaries({"messages": _CONVERSATIONS}, optional={"tools": _CONVERSATIONS}),
        st.fixed_dictionaries({"conversations": _CONVERSATIONS}, optional={"system": _ODD}),
        st.fixed_dictionaries({"instruction": _ODD, "output": _ODD}, optional={"input": _ODD}),
        st.fixed_dictionaries({"prompt": _CONVERSATIONS, "completion": _CONVERSATIONS}, optional={"label": _ODD}),
        st.fixed_dictionaries({"chosen": _CONVERSATIONS, "rejected": _CONVERSATIONS}, optional={"prompt": _ODD}),
        st.fixed_dictionaries({"text": _ODD}),
        st.dictionaries(_ROW_KEYS, _CONVERSATIONS, max_size=4),
        _ODD,
    )


def _as_jsonl(values: list[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _as_json(values: list[Any]) -> bytes:
    return json.dumps(values).encode()


def _as_csv(values: list[Any]) -> bytes:
    header = sorted({key for value in values if isinstance(value, dict) for key in value}) or ["text"]
    lines = [header] + [[str(value.get(k, "")) for k in header] for value in values if isinstance(value, dict)]
    quoted = (",".join('"' + field.replace('"', '""') + '"' for field in line) for line in lines)
    return "\n".join(quoted).encode("utf-8", "surrogatepass")


def _as_parquet(values: list[Any]) -> bytes:
    """Values as text, for a column has one type."""
    cells = [json.dumps(value, allow_nan=True) for value in values]
    sink = io.BytesIO()
    table = pyarrow.table({"text": cells, "odd": [value if isinstance(value, float) else None for value in values]})
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


_WRITERS: dict[str, Callable[[list[Any]], bytes]] = {
    ".jsonl": _as_jsonl,
    ".json": _as_json,
    ".csv": _as_csv,
    ".txt": _as_jsonl,
    ".parquet": _as_parquet,
}
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with some changed, taken out or put in, or cut short; or as they were."""
    for _ in range(draw(st.integers(0, 3))):
        at, length = draw(st.integers(0, len(data))), draw(st.sampled_from((0, 0, 1, 1, 4, 100)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + length :]
    return data


@st.composite
def data_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """(suffix, bytes), damaged before and after compression."""
    kind, packing = draw(st.sampled_from(sorted(_WRITERS))), draw(st.sampled_from(("", "", *_PACKERS)))
    if draw(st.booleans()):
        data = _WRITERS[kind](draw(st.lists(rows(), max_size=4)))
    else:
        data = draw(st.sampled_from((b"\n", b"\r\n", b"\r"))).join(draw(st.lists(json_lines(), max_size=4)))
    return kind + packing, draw(damaged(_PACKERS[packing](draw(damaged(data)))))
