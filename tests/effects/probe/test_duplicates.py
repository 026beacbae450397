from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from backprop.effects.probe import duplicates, set_files
from backprop.effects.probe.duplicates import DuplicateFinder
from backprop.plan.data.compared import compared_text, digests_of
from backprop.plan.data.conversation import Conversation
from backprop.plan.data.shingles import shared_excerpt, shingles_of
from backprop.plan.data.similarity import bucket_bits
from backprop.plan.errors import BackpropError
from tests.effects.probe.alike import clusters_by_hand, found, groups, planted

LONG_TEXT = " ".join(f"rule {number} says that answers are kind and short" for number in range(40))


def words(count: int, seed: int) -> list[str]:
    return Random(seed).choices([f"w{number}" for number in range(5000)], k=count)


def questions(count: int, *, system: str = "", instruction: str = "") -> list[str]:
    """The compared texts of distinct questions and answers."""
    texts = []
    for number in range(count):
        asked, answered = " ".join(words(8, number)), " ".join(words(6, -number - 1))
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": f"{instruction} {asked}"},
            {"role": "assistant", "content": answered},
        ]
        texts.append(compared_text(Conversation(tuple(messages), (False, False, True))))
    return texts


@pytest.mark.parametrize("threshold", [0.3, 0.8, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_every_similar_pair_is_found_and_no_other(
    threshold: float, num_processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_FEW", 0)
    texts = planted(2000)
    assert found(texts, threshold, num_processes=num_processes).clusters.first.tolist() == by_hand(threshold)


_BY_HAND: dict[float, list[int]] = {}


def by_hand(threshold: float) -> list[int]:
    if threshold not in _BY_HAND:
        _BY_HAND[threshold] = clusters_by_hand(planted(2000), threshold)
    return _BY_HAND[threshold]


@pytest.mark.soak
@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.95])
def test_every_similar_pair_is_found_among_ten_thousand_rows(threshold: float) -> None:
    texts = planted(10_000, seed=1)
    assert found(texts, threshold).clusters.first.tolist() == clusters_by_hand(texts, threshold)


def test_planted_rows_lie_on_both_sides_of_every_threshold() -> None:
    removable = [sum(first != row for row, first in enumerate(by_hand(t))) for t in (0.3, 0.8, 0.9, 0.95, 1.0)]
    assert removable == sorted(removable, reverse=True)
    assert len(set(removable)) == 5


def test_exact_and_near_duplicates_are_counted_apart() -> None:
    text = " ".join(words(60, 1))
    texts = [text, " ".join(words(60, 2)), text, f"{text} indeed", text, " ".join(words(60, 3))]
    result = found(texts)
    assert groups(result) == [[0, 2, 3, 4]]
    assert (result.exact_removable, result.near_removable) == (2, 1)
    assert result.first_equal.tolist() == [0, 1, 0, 3, 0, 5]
    assert [(pair.row, pair.other) for pair in result.pairs] == [(0, 3)]
    assert result.pairs[0].similarity == pytest.approx(58 / 59)


def test_without_a_threshold_only_equal_texts_are_duplicates() -> None:
    text = " ".join(words(60, 1))
    result = found([text, f"{text} indeed", text], None, against=[f"{text} indeed"])
    assert groups(result) == [[0, 2]]
    assert (result.exact_removable, result.near_removable, result.contaminated.tolist()) == (1, 0, [1])


def test_questions_that_share_a_long_system_prompt_are_no_duplicates() -> None:
    result = found(questions(400, system=LONG_TEXT), 0.8)
    assert (result.clusters.num_removable, result.boilerplate.share) == (0, 0.0)


def test_questions_that_share_a_long_instruction_are_no_duplicates() -> None:
    texts = questions(400, instruction=LONG_TEXT)
    result = found(texts, 0.8)
    assert result.clusters.num_removable == 0
    assert result.boilerplate.share > 0.85
    assert shared_excerpt(texts[7], result.boilerplate.hashes) == LONG_TEXT


def test_nineteen_rows_are_too_few_for_boilerplate() -> None:
    assert found(questions(19, instruction=LONG_TEXT), 0.8).clusters.num_removable == 18


def test_duplicates_among_rows_with_boilerplate_are_found() -> None:
    texts = questions(400, instruction=LONG_TEXT)
    result = found([*texts, texts[3], texts[5] + " !"], 0.8)
    assert groups(result) == [[3, 400], [5, 401]]


def test_a_row_that_is_nothing_but_boilerplate_keeps_it() -> None:
    texts = [*questions(40, instruction=LONG_TEXT), LONG_TEXT, f"{LONG_TEXT}!"]
    assert groups(found(texts)) == [[40, 41]]


@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好我们一起去公园散步吧然后回家吃饭看书睡觉明天继续努力工作学习",
        "ประเทศไทยมีอากาศร้อนชื้นตลอดทั้งปีและมีฝนตกชุกในฤดูฝนเราจึงควรพกร่มไปด้วย",
        "한국어문장은띄어쓰기가있지만없는경우도있습니다그래서글자마다나누어비교합니다",
        "今日は good 天気 very ですね 公園 to 行きましょう and 帰って ご飯 eat",
        "широка страна моя родная много в ней лесов полей и рек я другой такой страны не знаю где так",
    ],
)
def test_scripts_of_every_kind_have_near_duplicates(text: str) -> None:
    one_more = f"{text} {text[:1]}"
    backwards = " ".join(text.split()[::-1]) if text.count(" ") > 5 else text[::-1]
    assert groups(found([text, backwards, one_more], 0.8)) == [[0, 2]]


def test_rows_without_text_are_duplicates_of_one_another_only() -> None:
    result = found(["", "a", "", "!!!", "a b", ""], 0.1)
    assert groups(result) == [[0, 2, 5]]
    assert (result.exact_removable, result.near_removable) == (2, 0)


def test_texts_without_words_are_told_apart_by_their_signs() -> None:
    assert groups(found(["+", "-", "👍", "👎", "+"], 0.1)) == [[0, 4]]


def test_a_threshold_of_one_asks_for_equal_sets_of_shingles() -> None:
    texts = ["a b c a b c", "a b c a b c a b c a", "a b c d", "a b c a b d"]
    assert groups(found(texts, 1.0)) == [[0, 1]]


def test_a_threshold_of_zero_holds_all_rows_for_similar() -> None:
    result = found(["a", "b", "a"], 0.0, against=["c"])
    assert (groups(result), result.contaminated.tolist()) == ([[0, 1, 2]], [0, 1, 2])
    assert (result.exact_removable, result.near_removable) == (1, 1)
    assert found(["a"], 0.0).contaminated.tolist() == []


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_what_is_no_similarity_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        DuplicateFinder(threshold=threshold)


def test_no_rows_have_no_duplicates() -> None:
    result = found([], 0.9)
    assert (groups(result), result.exact_removable, result.contaminated.tolist()) == ([], 0, [])


def test_a_data_set_is_wholly_contaminated_by_itself() -> None:
    texts = planted(300)
    assert found(texts, 0.9, against=texts).contaminated.tolist() == list(range(300))


def test_contamination_is_told_pair_by_pair() -> None:
    text = words(60, 1)
    near, far = [*text, "x"], [*text, "x", "y", "z", "u", "v", "q", "r", "s"]
    texts = [" ".join(row) for row in (words(60, 2), far, text, words(50, 3))]
    result = found(texts, 0.95, against=[" ".join(near), "something else entirely", " ".join(words(60, 2))])
    assert result.contaminated.tolist() == [0, 2]


def test_a_row_is_contaminated_by_a_text_that_its_own_data_set_has_too() -> None:
    text = " ".join(words(60, 1))
    assert found([text, f"{text} x"], 0.9, against=[text]).contaminated.tolist() == [0, 1]


def test_the_other_data_set_changes_no_duplicates() -> None:
    texts = planted(400)
    alone, beside = found(texts), found(texts, against=planted(400, seed=5) + texts[:50])
    assert alone.clusters.first.tolist() == beside.clusters.first.tolist()
    assert (alone.exact_removable, alone.near_removable) == (beside.exact_removable, beside.near_removable)


def test_rows_of_both_data_sets_may_come_in_turn() -> None:
    texts, others = planted(300), planted(300, seed=1)[:100] + planted(300)[:50]
    with DuplicateFinder(threshold=0.9) as finder:
        for start in range(0, 300, 50):
            for rows, add in ((texts, finder.add), (others, finder.add_against)):
                add(digests_of(rows[start : start + 50]), shingles_of(rows[start : start + 50]))
        result = finder.finish()
    expected = found(texts, against=others)
    assert result.clusters.first.tolist() == expected.clusters.first.tolist()
    assert result.contaminated.tolist() == expected.contaminated.tolist()


@pytest.mark.parametrize("num_words", [1, 2])
def test_large_groups_of_rows_alike_are_compared_rightly(num_words: int) -> None:
    chance = Random(1)
    bases = [words(60, seed) for seed in range(3)]
    texts = []
    for _ in range(300):
        row = list(chance.choice(bases))
        for _ in range(num_words):
            row[chance.randrange(60)] = f"v{chance.randrange(100)}"
        texts.append(" ".join(row))
    for threshold in (0.85, 0.9):
        assert found(texts, threshold).clusters.first.tolist() == clusters_by_hand(texts, threshold)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_while_rows_are_added() -> None:
    texts = planted(300)
    with DuplicateFinder(threshold=0.9) as finder, file_size_limit(4096), pytest.raises(BackpropError) as caught:
        finder.add(digests_of(texts), shingles_of(texts))
    assert caught.value.problems[0].code == "RUNTIME_DISK_FULL"
    assert "TMPDIR" in (caught.value.problems[0].hint or "")


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_full_disk_is_named_while_rows_are_compared(num_processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_FEW", 0)
    texts = planted(300)
    with DuplicateFinder(threshold=0.9, num_processes=num_processes) as finder:
        finder.add(digests_of(texts), shingles_of(texts))
        with file_size_limit(4096), pytest.raises(BackpropError) as caught:
            finder.finish()
    assert caught.value.problems[0].code == "RUNTIME_DISK_FULL"


@contextmanager
def descriptor_limit(count: int) -> Iterator[None]:
    """No more than ``count`` files beyond those that are open."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = max(int(entry.name) for entry in Path("/dev/fd").iterdir()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="takes a list of the open files")
def test_many_processors_need_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_FEW", 0)
    texts = planted(300)
    with descriptor_limit(128):
        result = found(texts, num_processes=200)
    assert result.clusters.first.tolist() == found(texts).clusters.first.tolist()


def test_counting_takes_bounded_memory_however_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def recorded(work: Callable[[int], object], num_processes: int) -> list[object]:
        asked.append(num_processes)
        return [work(number) for number in range(num_processes)]

    monkeypatch.setattr(duplicates, "_FEW", 0)
    monkeypatch.setattr(set_files, "in_processes", recorded)
    texts = planted(300)
    bits = bucket_bits(sum(len(shingles_of([text]).hashes) for text in set(texts)))
    monkeypatch.setattr(set_files, "_COUNTING_BYTES", 3 * (4 << bits))
    first = found(texts, num_processes=8).clusters.first.tolist()
    assert asked[0] == 3
    assert first == found(texts).clusters.first.tolist()


INTERRUPTED = """
import os, time
from tests.effects.probe.alike import found, planted
from backprop.effects.probe import duplicates, similarity_join
duplicates._FEW = 0
def match(self, groups):
    os.write(1, b"joining\\n")
    time.sleep(60)
similarity_join._Matcher.match = match
found(planted(300), num_processes=2)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="takes process groups")
def test_an_interrupt_ends_every_process_and_leaves_no_file(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "joining\n"
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert errors.count("KeyboardInterrupt") == 1
    time.sleep(0.2)
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    assert list(tmp_path.iterdir()) == []
