from __future__ import annotations

import os

import pytest

from backprop.effects.files.token_store import TokenStore


def test_rows_larger_than_what_is_kept_in_memory_come_back() -> None:
    store = TokenStore()
    sizes = (3, 300_000, 0, 250_000, 1)
    for number, size in enumerate(sizes):
        store.append([number] * size, [number % 2] * size)
    for number, size in reversed(list(enumerate(sizes))):
        ids, mask = store.row(number)
        assert (ids.tolist(), mask.tolist()) == ([number] * size, [number % 2] * size)
    assert len(store) == 5
    store.close()


def test_a_row_reaches_into_no_other() -> None:
    store = TokenStore()
    store.append([1, 2], [0, 1])
    store.append([2**31 - 1], [1])
    ids, mask = store.row(0)
    ids[0], mask[0] = 7, 1
    assert store.row(0)[0].tolist() == [1, 2]
    assert store.row(1)[0].tolist() == [2**31 - 1]
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="takes fork")
def test_a_forked_reader_moves_no_other_readers_place() -> None:
    store = TokenStore()
    for number in range(100):
        store.append([number] * 50, [1] * 50)
    store.row(0)
    child = os.fork()
    if child == 0:
        right = all(store.row(i)[0].tolist() == [i] * 50 for _ in range(20) for i in range(100))
        os._exit(0 if right else 1)
    assert all(store.row(i)[0].tolist() == [i] * 50 for _ in range(20) for i in reversed(range(100)))
    assert os.waitpid(child, 0)[1] == 0
    store.close()
