from __future__ import annotations

from backprop.plan.decision import Problem
from backprop.plan.runs.lookup import find_run

RUN_IDS = ("20261125-080000-abcd", "20261124-193802-k3f9", "20261124-193801-aaaa")


def find(prefix: str, run_ids: tuple[str, ...] = RUN_IDS) -> str | Problem:
    return find_run(prefix, run_ids, searched="./output", unknown_code="INPUT_RESUME_NOT_FOUND")


def test_a_beginning_that_only_one_run_has_finds_it() -> None:
    assert find("20261125") == "20261125-080000-abcd"
    assert find("20261124-193802-k3f9") == "20261124-193802-k3f9"


def test_an_ambiguous_beginning_lists_the_candidates() -> None:
    problem = find("20261124")
    assert isinstance(problem, Problem)
    assert problem.code == "INPUT_RUN_AMBIGUOUS"
    assert "20261124-193802-k3f9, 20261124-193801-aaaa" in problem.message


def test_an_unknown_run_is_named_with_the_place_searched_and_the_next_step() -> None:
    problem = find("2025")
    assert isinstance(problem, Problem)
    assert problem.code == "INPUT_RESUME_NOT_FOUND"
    assert '"2025" in ./output' in problem.message
    assert RUN_IDS[0] in problem.message
    assert "backprop runs" in problem.hint


def test_the_empty_beginning_finds_nothing() -> None:
    assert isinstance(find("", RUN_IDS[:1]), Problem)
    assert isinstance(find("x", ()), Problem)
