from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from backprop.effects.files.shingle_store import ArrayStore


def test_what_is_appended_is_read_in_any_order() -> None:
    store: ArrayStore[np.uint64] = ArrayStore(np.uint64)
    store.append(np.arange(5, dtype=np.uint64))
    store.append(np.arange(0, dtype=np.uint64))
    store.append(np.arange(5, 300_000, dtype=np.uint64))
    assert len(store) == 300_000
    assert store.read(299_990, 10).tolist() == list(range(299_990, 300_000))
    assert store.read(3, 4).tolist() == [3, 4, 5, 6]
    assert store.read(7, 0).tolist() == []
    store.close()


def test_items_are_replaced_where_they_stand() -> None:
    store: ArrayStore[np.uint64] = ArrayStore(np.uint64)
    store.append(np.arange(6, dtype=np.uint64))
    store.write(2, np.array([70, 80], np.uint64))
    assert store.read(0, 6).tolist() == [0, 1, 70, 80, 4, 5]
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="takes fork")
def test_a_forked_process_reads_and_writes_the_same_file() -> None:
    store: ArrayStore[np.uint64] = ArrayStore(np.uint64)
    store.append(np.arange(6, dtype=np.uint64))
    child = os.fork()
    if child == 0:
        right = store.read(4, 2).tolist() == [4, 5]
        store.append(np.array([9], np.uint64))
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    store.written_elsewhere(7)
    assert store.read(5, 2).tolist() == [5, 9]
    store.close()


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store: ArrayStore[np.uint64] = ArrayStore(np.uint64)
    store.append(np.arange(6, dtype=np.uint64))
    assert list(tmp_path.iterdir()) == []
    store.close()
