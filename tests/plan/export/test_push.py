"""What of a directory goes to the Hub."""

from __future__ import annotations

import pytest

from backprop.plan.decision import Refused
from backprop.plan.export.push import Kind, PushPlan, check_repo, kind_of, plan_push

ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md", "loss.svg")
MODEL = ("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "modeling_own.py")
STAYS = (".env", "optimizer.pt", "checkpoint-5/", "training_args.bin", "events.jsonl", "record.json", "notes.txt")


def planned(names: tuple[str, ...], *, include_base: bool = False, **more: str | None) -> PushPlan | Refused:
    given = {"repo": "ann/mine", **more}
    return plan_push(names, directory="d", include_base=include_base, message="m", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "kind"),
    [(ADAPTER, Kind.ADAPTER), (MODEL, Kind.MODEL), (("m-q4_k_m.gguf", "README.md", "Modelfile"), Kind.GGUF)],
)
def test_what_belongs_is_pushed_and_everything_else_stays(names: tuple[str, ...], kind: Kind) -> None:
    plan = planned((*names, *STAYS), include_base=True)
    assert isinstance(plan, PushPlan)
    assert (plan.kind, set(plan.files), set(plan.left_out)) == (kind, set(names), set(STAYS))


@pytest.mark.parametrize("weights", ["model.safetensors-00001-of-00002.safetensors", "model-1.safetensors"])
def test_no_weights_stay_behind_whatever_their_files_are_called(weights: str) -> None:
    plan = planned(("config.json", weights, "tekken.json", "sentencepiece.bpe.model"), include_base=True)
    assert isinstance(plan, PushPlan)
    assert plan.left_out == ()


def test_weights_of_a_base_are_pushed_only_when_they_are_meant() -> None:
    assert isinstance(planned(ADAPTER), PushPlan)
    refused = planned(MODEL)
    assert isinstance(refused, Refused)
    assert "--include-base" in refused.problems[0].hint


def test_an_adapter_with_the_base_s_weights_beside_it_is_pushed_without_them() -> None:
    plan = planned((*ADAPTER, "model.safetensors"))
    assert isinstance(plan, PushPlan)
    assert plan.left_out == ("model.safetensors",)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    refused = planned(("notes.txt",), repo="mine", revision="a..b")
    assert isinstance(refused, Refused)
    assert [p.code for p in refused.problems] == [
        "HUB_PUSH_INVALID_REPO",
        "HUB_PUSH_INVALID_REPO",
        "INPUT_VALIDATION_FAILED",
    ]


@pytest.mark.parametrize("repo", ["ann/mine", "Ann_1/my-model.v2", "a/b"])
def test_a_name_of_a_repository_is_taken(repo: str) -> None:
    assert check_repo(repo) is None


@pytest.mark.parametrize(
    "repo", ["mine", "a/b/c", "ann/", "/mine", "ann/a--b", "ann/a..b", "ann/-a", "ann/a.git", "a b/c", "a/" + "b" * 96]
)
def test_a_name_that_the_hub_cannot_have_is_refused(repo: str) -> None:
    problem = check_repo(repo)
    assert problem is not None
    assert problem.code == "HUB_PUSH_INVALID_REPO"


def test_a_directory_of_anything_else_is_nothing_to_push() -> None:
    assert kind_of(("config.json", "README.md")) is None
