"""What ``backprop export`` takes."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.kinds import Choice, ModelName, Switch, Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import json_flag


class ExportFormat(enum.Enum):
    """What an adapter or a model is turned into."""

    LORA = "lora"
    MERGED = "merged"
    GGUF = "gguf"
    OLLAMA_ADAPTER = "ollama-adapter"


class Quantization(enum.Enum):
    """The types of a GGUF file's tensors."""

    F16 = "f16"
    Q8_0 = "q8_0"
    Q5_K_M = "q5_k_m"
    Q4_K_M = "q4_k_m"
    Q4_0 = "q4_0"
    Q2_K = "q2_k"


@attrs.frozen
class ExportSettings:
    """``backprop export``"""

    path: str = opt(
        Words(),
        positional=True,
        help="Adapter or model directory, the --output of a train run, or a run id.",
        metavar="PATH",
        file_like=True,
    )
    format: ExportFormat = opt(
        Choice(ExportFormat),
        "--format",
        "-f",
        default=ExportFormat.LORA,
        help="lora: the adapter alone; merged: the base with the adapter in it; gguf: that for llama.cpp; "
        "ollama-adapter: the adapter registered with Ollama on --base-model.",
    )
    quantization: Quantization = opt(
        Choice(Quantization), "--quantization", "-q", default=Quantization.Q4_K_M, help="Types of a GGUF file."
    )
    output: str | None = opt(
        Words(), "--output", "-o", unset="PATH/FORMAT", help="Output directory.", metavar="DIR", file_like=True
    )
    run_dir: str = opt(
        Words(), "--run-dir", default="output", help="Where a run id is looked for.", metavar="DIR", file_like=True
    )
    base: str | None = opt(
        ModelName(),
        "--base",
        unset="read from the adapter",
        help="Base model of the adapter (Hub id or directory), where it is elsewhere now.",
        file_like=True,
    )
    verify: bool = opt(Switch(), "--verify", default=True, help="Compare what was written with what was to be written.")
    model_card: bool = opt(Switch(), "--model-card", default=True, help="Write a model card, README.md.")
    ollama: bool = opt(Switch(), "--ollama", default=False, help="Register the GGUF file with Ollama.")
    ollama_name: str | None = opt(
        Words(), "--ollama-name", unset="the output's name", help="Name in Ollama.", metavar="NAME"
    )
    llama_cpp_path: str | None = opt(
        Words(),
        "--llama-cpp-path",
        env="LLAMA_CPP_PATH",
        unset="packages and PATH alone",
        help="For --format gguf: clone of llama.cpp, for its converter and quantizer.",
        metavar="DIR",
        rare=True,
        file_like=True,
    )
    base_model: str | None = opt(
        Words(),
        "--base-model",
        unset="needed for ollama-adapter",
        help="For --format ollama-adapter: the base in Ollama (llama3.2), or its GGUF file.",
        metavar="MODEL",
        file_like=True,
    )
    adapter_tag: str | None = opt(
        Words(),
        "--adapter-tag",
        unset="the adapter directory's name",
        help="For --format ollama-adapter: the tag after the base's name, llama3.2:TAG.",
        metavar="TAG",
    )
    register: bool = opt(
        Switch(),
        "--register",
        default=True,
        help="For --format ollama-adapter: register the adapter with Ollama; without, its file is written for "
        "llama.cpp's --lora.",
        rare=True,
    )
    push: str | None = opt(
        Words(), "--push", unset="nothing is pushed", help="Push the result to this repository.", metavar="REPO"
    )
    hub_token: str | None = opt(
        Words(),
        "--hub-token",
        unset="HF_TOKEN, or the login of `hf auth login`",
        help="Hub token for --push; others on this machine can see it, so prefer --hub-token-file.",
        metavar="TOKEN",
    )
    hub_token_file: str | None = opt(
        Words(),
        "--hub-token-file",
        unset="no file",
        help="File that holds the Hub token for --push; mode 0600.",
        metavar="FILE",
        file_like=True,
    )
    json: bool = json_flag("what was written")
