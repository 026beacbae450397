"""``backprop push`` and the real client of the Hub, against a Hub on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import Done, backprop, leftovers
from tests.effects.export.peft_models import make_adapter
from tests.gguf_files import write_adapter, write_model
from tests.hub_double import NOWHERE
from tests.hub_push_double import READER, WRITER, PushHub, Repository, serving

CARD = "---\nlibrary_name: peft\n---\n\n# Mine\n"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once, in the processes that are forked from this one."""
    monkeypatch.setattr("backprop.effects.export.hub.RETRY_WAITS", (0.01, 0.01, 0.01))


@pytest.fixture
def hub() -> Iterator[PushHub]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def made(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_adapter(Path(model), tmp_path_factory.mktemp("adapters") / "lora")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(Path(model) / name, directory / name)
    return directory


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    """An adapter directory with a card, and with what must stay here."""
    directory = Path(shutil.copytree(made, tmp_path / "lora"))
    (directory / "README.md").write_text(CARD)
    (directory / "optimizer.pt").write_bytes(b"state")
    (directory / "checkpoint-5").mkdir()
    (directory / "checkpoint-5" / "model.safetensors").write_bytes(b"state")
    (directory / ".env").write_text(f"HF_TOKEN={WRITER}")
    return directory


def push(hub: PushHub | str, cwd: Path, *arguments: str, **variables: str) -> Done:
    url = hub if isinstance(hub, str) else hub.url
    quick = {"HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITER, **variables}
    return backprop("push", *arguments, "--json", cwd=cwd, HF_ENDPOINT=url, **quick)


def code_of(done: Done) -> tuple[int, str]:
    return done.code, str(done.data["problems"][0]["code"])


def test_an_adapter_is_pushed_with_its_card_and_nothing_else(hub: PushHub, adapter: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine")
    assert done.code == 0, done.stdout
    repository = hub.repositories["ann/mine"]
    files = repository.branches["main"]
    assert set(files) == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert files["README.md"].decode() == CARD
    assert files["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert repository.commits == [("main", "Upload model")]
    assert not repository.private
    assert done.data["left_out"] == [".env", "checkpoint-5/", "optimizer.pt"]
    assert done.data["url"] == f"{hub.url}/ann/mine"


@pytest.mark.usefixtures("adapter")
def test_what_is_there_already_is_not_uploaded_again(hub: PushHub, tmp_path: Path) -> None:
    first, second = (push(hub, tmp_path, "lora", "--repo", "ann/mine") for _ in range(2))
    assert (first.code, second.code, hub.uploads()) == (0, 0, 1)
    assert (first.data["changed"], second.data["changed"]) == (True, False)
    assert first.data["commit"] == second.data["commit"]
    assert "No files have been modified" not in second.stderr


def test_an_adapter_s_own_gguf_file_holds_no_base_to_be_meant(hub: PushHub, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    write_adapter(tmp_path / "alone" / "mine-lora.gguf")
    done = push(hub, tmp_path, "alone", "--repo", "ann/mine")
    assert done.code == 0, done.stdout
    assert b"LoRA adapter, in a GGUF file" in hub.repositories["ann/mine"].branches["main"]["README.md"]


@pytest.mark.usefixtures("adapter")
def test_a_token_that_is_none_is_told_by_where_it_came_from(hub: PushHub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("two words")
    for arguments, variables, where in (
        ((), {"HF_TOKEN": "two words"}, "HF_TOKEN"),
        (("--token", "two words"), {}, "--token"),
        (("--token-file", "token"), {}, "--token-file"),
    ):
        (problem,) = push(hub, tmp_path, "lora", "--repo", "ann/mine", *arguments, **variables).data["problems"]
        assert problem["where"] == where
        assert "redacted" not in problem["message"]


def test_a_base_that_is_a_directory_here_is_warned_of(hub: PushHub, adapter: Path, model: str, tmp_path: Path) -> None:
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine")
    assert code_of(done) == (0, "INPUT_BASE_LOCAL")
    assert model in done.data["problems"][0]["message"]
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "ann/base"}))
    assert push(hub, tmp_path, "lora", "--repo", "ann/mine").data["problems"] == []


@pytest.mark.usefixtures("adapter")
def test_a_private_repository_a_branch_and_a_message(hub: PushHub, tmp_path: Path) -> None:
    flags = ("--private", "--hub-revision", "dev/one", "--hub-commit-message", "ci: 42")
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine", *flags)
    assert done.code == 0, done.stdout
    repository = hub.repositories["ann/mine"]
    assert repository.private
    assert repository.commits == [("dev/one", "ci: 42")]
    assert repository.branches["main"] == {}
    assert "adapter_model.safetensors" in repository.branches["dev/one"]


@pytest.mark.usefixtures("adapter")
def test_nothing_that_is_to_be_private_goes_to_a_public_repository(hub: PushHub, tmp_path: Path) -> None:
    hub.repositories["ann/mine"] = Repository(private=False)
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine", "--private")
    assert code_of(done) == (1, "INPUT_VALIDATION_FAILED")
    assert "is public" in done.data["problems"][0]["message"]
    assert (hub.uploads(), hub.repositories["ann/mine"].commits) == (0, [])
    hub.repositories["ann/mine"].private = True
    assert push(hub, tmp_path, "lora", "--repo", "ann/mine", "--private").code == 0


def test_a_directory_without_a_card_gets_one_unless_none_is_wanted(hub: PushHub, adapter: Path, tmp_path: Path) -> None:
    (adapter / "README.md").unlink()
    assert push(hub, tmp_path, "lora", "--repo", "ann/none", "--no-model-card").code == 0
    assert "README.md" not in hub.repositories["ann/none"].branches["main"]
    assert push(hub, tmp_path, "lora", "--repo", "ann/mine").code == 0
    assert b"library_name: peft" in hub.repositories["ann/mine"].branches["main"]["README.md"]
    assert not (adapter / "README.md").exists()


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_uploaded(
    hub: PushHub, adapter: Path, tmp_path: Path
) -> None:
    (adapter / "README.md").write_text("---\nbase_model: /home/ann/model\n---\n")
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine")
    assert code_of(done) == (2, "HUB_PUSH_UNKNOWN")
    assert '"base_model" /home/ann/model is not valid' in done.data["problems"][0]["message"]
    assert hub.uploads() == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.md", CARD + f"My token is {READER}.\n"),
        ("chat_template.jinja", "{# sk-proj-abcdefghij0123456789 #}"),
        ("tokenizer_config.json", '{"x": "https://ann:secret123@example.com"}'),
        ("adapter_config.json", None),
    ],
)
def test_a_secret_never_leaves(hub: PushHub, adapter: Path, tmp_path: Path, name: str, text: str | None) -> None:
    if text is None:
        config = json.loads((adapter / name).read_text())
        text = json.dumps({**config, "api_key": "0123456789abcdef"})
    (adapter / name).write_text(text)
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine")
    assert code_of(done) == (1, "HUB_PUSH_SECRET")
    assert name in done.data["problems"][0]["message"]
    assert hub.requests == []
    for secret in (READER, "abcdefghij0123456789", "secret123", "0123456789abcdef"):
        assert secret not in done.stdout + done.stderr


def test_a_secret_in_the_template_of_a_gguf_file_never_leaves(hub: PushHub, tmp_path: Path) -> None:
    (tmp_path / "gguf").mkdir()
    write_model(tmp_path / "gguf" / "m.gguf", template="{# sk-proj-abcdefghij0123456789 #}")
    done = push(hub, tmp_path, "gguf", "--repo", "ann/mine", "--include-base")
    assert code_of(done) == (1, "HUB_PUSH_SECRET")
    assert hub.requests == []
    write_model(tmp_path / "gguf" / "m.gguf")
    assert push(hub, tmp_path, "gguf", "--repo", "ann/mine", "--include-base").code == 0
    assert set(hub.repositories["ann/mine"].branches["main"]) == {"m.gguf", "README.md"}


def test_a_whole_model_needs_to_be_meant(hub: PushHub, model: str, tmp_path: Path) -> None:
    done = push(hub, tmp_path, model, "--repo", "ann/mine")
    assert code_of(done) == (1, "INPUT_VALIDATION_FAILED")
    assert "--include-base" in done.data["problems"][0]["hint"]
    assert push(hub, tmp_path, model, "--repo", "ann/mine", "--include-base").code == 0
    assert {"config.json", "model.safetensors", "README.md"} <= set(hub.repositories["ann/mine"].branches["main"])


@pytest.mark.usefixtures("adapter")
def test_an_adapter_is_merged_into_its_base_for_the_push_alone(hub: PushHub, tmp_path: Path) -> None:
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine", "--include-base")
    assert done.code == 0, done.stdout
    files = hub.repositories["ann/mine"].branches["main"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert "adapter_model.safetensors" not in files
    assert "# mine" in files["README.md"].decode()
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("adapter")
def test_the_token_comes_from_a_file(hub: PushHub, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(WRITER + "\n")
    file.chmod(0o600)
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine", "--token-file", "token", HF_TOKEN=READER)
    assert (done.code, [p["code"] for p in done.data["problems"]]) == (0, ["INPUT_BASE_LOCAL"])
    file.chmod(0o644)
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine", "--token-file", "token", HF_TOKEN=READER)
    assert code_of(done) == (0, "INPUT_TOKEN_FILE_OPEN")
    assert "0644" in done.data["problems"][0]["message"]


@pytest.mark.usefixtures("adapter")
def test_the_flag_wins_over_the_variable_and_the_login_is_used_last(hub: PushHub, tmp_path: Path) -> None:
    assert push(hub, tmp_path, "lora", "--repo", "ann/mine", "--token", WRITER, HF_TOKEN=READER).code == 0
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(WRITER)
    assert push(hub, tmp_path, "lora", "--repo", "ann/mine", HF_TOKEN="", HF_HOME=str(tmp_path / "hf")).code == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        ((), {"HF_TOKEN": ""}, (2, "HUB_PUSH_AUTH")),
        ((), {"HF_TOKEN": READER}, (2, "HUB_PUSH_AUTH")),
        ((), {"HF_TOKEN": "a b"}, (1, "INPUT_VALIDATION_FAILED")),
        ((), {"HF_TOKEN": "hf_unknownunknownunknown"}, (2, "HUB_PUSH_AUTH")),
        (("--token", "a b"), {}, (1, "INPUT_VALIDATION_FAILED")),
        (("--token", "x", "--token-file", "y"), {}, (1, "INPUT_VALIDATION_FAILED")),
        (("--token-file", "missing"), {}, (1, "INPUT_VALIDATION_FAILED")),
        (("--repo", "bob/mine"), {}, (2, "HUB_PUSH_AUTH")),
        (("--repo", "mine"), {}, (2, "HUB_PUSH_INVALID_REPO")),
        (("--repo", "ann/a--b"), {}, (2, "HUB_PUSH_INVALID_REPO")),
        (("--hub-revision", "a..b"), {}, (2, "HUB_PUSH_INVALID_REPO")),
    ],
)
@pytest.mark.usefixtures("adapter")
def test_what_the_hub_would_not_take_is_told_by_its_code(
    hub: PushHub,
    tmp_path: Path,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    expected: tuple[int, str],
) -> None:
    repo = () if "--repo" in arguments else ("--repo", "ann/mine")
    done = push(hub, tmp_path, "lora", *repo, *arguments, **variables)
    assert code_of(done) == expected
    assert hub.repositories == {}
    assert READER not in done.stdout + done.stderr


@pytest.mark.usefixtures("adapter")
def test_the_repository_must_be_named(hub: PushHub, tmp_path: Path) -> None:
    assert code_of(push(hub, tmp_path, "lora")) == (1, "INPUT_VALIDATION_FAILED")


def test_a_directory_with_nothing_to_push_is_told(hub: PushHub, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("empty", "missing"):
        assert code_of(push(hub, tmp_path, path, "--repo", "ann/mine")) == (1, "INPUT_VALIDATION_FAILED")


@pytest.mark.parametrize("statuses", [[503], [0], [429, 502]])
@pytest.mark.parametrize("part", ["/repos/create", "/commit/", "/preupload/", "/storage/"])
@pytest.mark.usefixtures("adapter")
def test_a_push_survives_a_hub_that_falters(hub: PushHub, tmp_path: Path, part: str, statuses: list[int]) -> None:
    hub.failures[part] = list(statuses)
    done = push(hub, tmp_path, "lora", "--repo", "ann/mine")
    assert done.code == 0, done.stdout
    assert len(hub.repositories["ann/mine"].commits) == 1


@pytest.mark.usefixtures("adapter")
def test_a_hub_that_cannot_be_reached_is_exit_code_69(tmp_path: Path) -> None:
    assert code_of(push(NOWHERE, tmp_path, "lora", "--repo", "ann/mine")) == (69, "HUB_PUSH_NETWORK")


def test_a_push_that_fails_leaves_the_repository_as_it_was(hub: PushHub, adapter: Path, tmp_path: Path) -> None:
    assert push(hub, tmp_path, "lora", "--repo", "ann/mine").code == 0
    before = dict(hub.repositories["ann/mine"].branches["main"])
    (adapter / "README.md").write_text(CARD + "more\n")
    hub.failures["/commit/"] = [500] * 50
    assert code_of(push(hub, tmp_path, "lora", "--repo", "ann/mine")) == (69, "HUB_PUSH_NETWORK")
    assert hub.repositories["ann/mine"].branches["main"] == before


@pytest.mark.usefixtures("adapter")
def test_an_export_is_pushed_when_it_is_asked_for(hub: PushHub, tmp_path: Path) -> None:
    arguments = ("export", "lora", "--format", "merged", "-o", "out", "--push", "ann/mine", "--json")
    variables = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    done = backprop(*arguments, "--hub-token", WRITER, cwd=tmp_path, **variables)
    assert done.code == 0, done.stdout
    assert done.data["pushed_to"] == f"{hub.url}/ann/mine"
    assert "model.safetensors" in hub.repositories["ann/mine"].branches["main"]
    both = backprop(*arguments, "--hub-token", "x", "--hub-token-file", "y", cwd=tmp_path, **variables)
    assert code_of(both) == (1, "INPUT_VALIDATION_FAILED")
    none = backprop(*arguments[:5], "out2", *arguments[6:], cwd=tmp_path, **variables)
    assert code_of(none) == (2, "HUB_PUSH_AUTH")


@pytest.mark.parametrize(("format", "flags"), [("merged", ("--include-base",)), ("lora", ())])
@pytest.mark.usefixtures("adapter")
def test_an_export_that_cannot_be_pushed_stands_and_is_gone_on_from(
    hub: PushHub, tmp_path: Path, format: str, flags: tuple[str, ...]
) -> None:
    arguments = ("export", "lora", "--format", format, "-o", "out", "--push", "ann/mine", "--json")
    variables = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITER}
    hub.failures["/commit/"] = [500] * 50
    done = backprop(*arguments, cwd=tmp_path, **variables)
    assert code_of(done) == (69, "HUB_PUSH_NETWORK")
    command = done.data["problems"][0]["hint"].partition("`backprop push ")[2].partition("`")[0].split()
    assert command == ["out", "--repo", "ann/mine", *flags]
    hub.failures.clear()
    assert push(hub, tmp_path, *command).code == 0
