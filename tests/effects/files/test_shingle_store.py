from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from backprop.effects.files.shingle_store import ArrayStore
from backprop.plan.errors import BackpropError


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
        store.write(6, np.array([9], np.uint64))
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read(5, 2).tolist() == [5, 9]
    store.close()


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store: ArrayStore[np.uint64] = ArrayStore(np.uint64)
    store.append(np.arange(6, dtype=np.uint64))
    assert list(tmp_path.iterdir()) == []
    store.close()


def test_a_directory_without_room_for_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(BackpropError) as caught:
        ArrayStore(np.uint64)
    (problem,) = caught.value.problems
    assert problem.code == "RUNTIME_WRITE_FAILED"
    assert str(tmp_path / "gone") in problem.message
    assert "TMPDIR" in (problem.hint or "")


def test_too_many_open_files_are_named() -> None:
    resource = pytest.importorskip("resource")
    tempfile.gettempdir()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(BackpropError) as caught:
            ArrayStore(np.uint64)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "ulimit -n" in (caught.value.problems[0].hint or "")
