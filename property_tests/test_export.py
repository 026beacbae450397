"""Laws of exports: names, the layout of weight files, and rounding."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backprop.effects.export.tensors import decode, encode
from backprop.plan.export.merge import MergeEntry
from backprop.plan.export.request import safe_name
from backprop.plan.export.shards import plan_shards
from backprop.plan.export.sources import ITEM_BYTES, TensorFacts

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@st.composite
def entries(draw: st.DrawFn) -> tuple[MergeEntry, ...]:
    """Tensors of any type and shape, in a few files."""
    made = []
    for name in draw(st.lists(NAMES, unique=True, max_size=8)):
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
        dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
        file = f"model-{draw(st.integers(1, 3))}.safetensors"
        facts = TensorFacts(name, dtype, shape, file, 0, math.prod(shape) * ITEM_BYTES[dtype])
        made.append(MergeEntry(name, facts, dtype, file))
    return tuple(made)


@given(st.text())
def test_a_safe_name_is_safe_and_stays_as_it_is(text: str) -> None:
    name = safe_name(text)
    assert safe_name(name) == name
    assert 0 < len(name) <= 80
    assert name.isascii()
    assert name[0] not in ".-"
    assert not set(name) & set('/\\:*?"<>| ')


@given(entries())
def test_every_tensor_stands_once_in_the_files_without_gap_or_overlap(given_entries: tuple[MergeEntry, ...]) -> None:
    shards = plan_shards(given_entries)
    assert sorted(e.name for s in shards for e, _ in s.tensors) == sorted(e.name for e in given_entries)
    for shard in shards:
        end = len(shard.header)
        assert end % 8 == 0
        header = json.loads(shard.header[8:])
        for entry, begin in shard.tensors:
            assert begin == end
            end += entry.num_bytes
            assert header[entry.name]["data_offsets"] == [begin - len(shard.header), end - len(shard.header)]
        assert end == shard.num_bytes


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20), st.sampled_from(["bfloat16", "float16", "float32"]))
def test_what_was_rounded_once_is_not_rounded_again(values: list[float], dtype: str) -> None:
    once = encode(np.array(values, np.float32), dtype)
    again = encode(decode(once.view(np.uint8), dtype).copy(), dtype)
    assert once.tobytes() == again.tobytes()
