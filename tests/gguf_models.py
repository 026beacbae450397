"""Small models of every family that can be written to GGUF: random weights, each with a byte-level tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tiny import CHATML

WIDTH = 256
VOCABULARY = 320
"""Padded: the tokenizer has fewer."""

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "llama-tied": {"family": "llama", "tie_word_embeddings": True},
    "llama-biases": {"family": "llama", "attention_bias": True, "mlp_bias": True},
    "llama3": {
        "family": "llama",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "llama-linear": {
        "family": "llama",
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    },
    "mistral": {"head_dim": 32, "sliding_window": None},
    "qwen2": {},
    "qwen2-tied": {"family": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"head_dim": 128},
    "qwen3-tied": {"family": "qwen3", "tie_word_embeddings": True},
    "qwen3-yarn": {
        "family": "qwen3",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    },
    "phi3": {"pad_token_id": 0, "sliding_window": None},
    "phi3-long": {
        "family": "phi3",
        "pad_token_id": 0,
        "sliding_window": None,
        "original_max_position_embeddings": 256,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0 + 0.01 * i for i in range(32)],
            "long_factor": [1.0 + 0.1 * i for i in range(32)],
            "original_max_position_embeddings": 256,
        },
    },
    "phi3-partial": {
        "family": "phi3",
        "pad_token_id": 0,
        "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        "tie_word_embeddings": True,
    },
    "smollm3": {"num_hidden_layers": 4, "pad_token_id": 0},
    "smollm3-untied": {"family": "smollm3", "num_hidden_layers": 4, "tie_word_embeddings": False, "pad_token_id": 0},
    "gemma": {"head_dim": 64},
    "gemma2": {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 8},
    "gemma3_text": {"head_dim": 64, "query_pre_attn_scalar": 64, "num_hidden_layers": 6, "sliding_window": 8},
    "gemma3-untied": {
        "family": "gemma3_text",
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "num_hidden_layers": 6,
        "sliding_window": 8,
        "tie_word_embeddings": False,
    },
    "olmo2": {},
    "olmo2-tied": {"family": "olmo2", "tie_word_embeddings": True},
    "granite": {
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.1,
        "residual_multiplier": 0.5,
        "logits_scaling": 2.0,
    },
    "granite-tied": {"family": "granite", "tie_word_embeddings": True, "attention_bias": True},
}
"""What differs from the sizes that all have; ``family`` where the name is not the model type."""


def make_family_model(directory: Path, name: str, *, seed: int = 0, **changes: Any) -> Path:
    """A model in float32 whose values are large enough that a mistake in any tensor shows."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    given = {**FAMILIES[name], **changes}
    family = given.pop("family", name)
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config = AutoConfig.for_model(family, **{**sizes, **given})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.06 if weight.ndim > 1 else 0.2)
    model.save_pretrained(directory)
    save_tokenizer(directory)
    return directory


def save_tokenizer(directory: Path, *, merges: tuple[str, ...] = ("h e", "l l", "he ll", "hell o", "\u0120 t")) -> None:
    """A byte-level tokenizer in the manner of Qwen 2, with ChatML's tokens and template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    from backprop.plan.export.gguf.pretokenizers import PRETOKENIZERS

    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet, *(a + b for a, b in pairs)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    pattern = next(way.patterns[0] for way in PRETOKENIZERS if way.name == "qwen2")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": False}
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": CHATML}))
