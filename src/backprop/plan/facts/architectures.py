"""Shapes of well-known models, so that plans work without a network.

Numbers are those of the models' published ``config.json``. Gemma 3 stands here in its sizes without a vision tower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backprop.plan.facts.configuration import facts_from_config

__all__ = ["ARCHITECTURES", "facts_from_config"]

Shape = Mapping[str, object]


def _shape(
    model_type: str,
    hidden_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    num_key_value_heads: int,
    intermediate_size: int,
    vocab_size: int,
    max_position_embeddings: int,
    *,
    tied: bool = False,
    head_dim: int | None = None,
    **more: object,
) -> Shape:
    return {
        "model_type": model_type,
        "hidden_size": hidden_size,
        "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": num_attention_heads,
        "num_key_value_heads": num_key_value_heads,
        "intermediate_size": intermediate_size,
        "vocab_size": vocab_size,
        "max_position_embeddings": max_position_embeddings,
        "tie_word_embeddings": tied,
        "head_dim": head_dim or hidden_size // num_attention_heads,
        "dtype": "bfloat16",
        **more,
    }


def _long(shape: Shape, max_position_embeddings: int, **more: object) -> Shape:
    """The same model for other lengths."""
    return {**shape, "max_position_embeddings": max_position_embeddings, **more}


_QWEN25 = {
    "0.5B": _shape("qwen2", 896, 24, 14, 2, 4864, 151936, 32768, tied=True),
    "1.5B": _shape("qwen2", 1536, 28, 12, 2, 8960, 151936, 32768, tied=True),
    "3B": _shape("qwen2", 2048, 36, 16, 2, 11008, 151936, 32768, tied=True),
    "7B": _shape("qwen2", 3584, 28, 28, 4, 18944, 152064, 32768),
    "14B": _shape("qwen2", 5120, 48, 40, 8, 13824, 152064, 32768),
    "32B": _shape("qwen2", 5120, 64, 40, 8, 27648, 152064, 32768),
    "72B": _shape("qwen2", 8192, 80, 64, 8, 29568, 152064, 32768),
}
_QWEN25_LONG_BASES = ("1.5B", "7B", "14B", "32B", "72B")
_QWEN3 = {
    "0.6B": _shape("qwen3", 1024, 28, 16, 8, 3072, 151936, 40960, tied=True, head_dim=128),
    "1.7B": _shape("qwen3", 2048, 28, 16, 8, 6144, 151936, 40960, tied=True, head_dim=128),
    "4B": _shape("qwen3", 2560, 36, 32, 8, 9728, 151936, 40960, tied=True, head_dim=128),
    "8B": _shape("qwen3", 4096, 36, 32, 8, 12288, 151936, 40960, head_dim=128),
    "14B": _shape("qwen3", 5120, 40, 40, 8, 17408, 151936, 40960, head_dim=128),
    "32B": _shape("qwen3", 5120, 64, 64, 8, 25600, 151936, 40960, head_dim=128),
}
_QWEN3_MIXTURE = {"num_experts": 128, "num_experts_per_tok": 8, "head_dim": 128}
_QWEN3_MIXTURES = {
    "30B-A3B": {
        **_shape("qwen3_moe", 2048, 48, 32, 4, 6144, 151936, 40960, moe_intermediate_size=768),
        **_QWEN3_MIXTURE,
    },
    "235B-A22B": {
        **_shape("qwen3_moe", 4096, 94, 64, 4, 12288, 151936, 40960, moe_intermediate_size=1536),
        **_QWEN3_MIXTURE,
    },
}
_LLAMA2 = {
    "7b": _shape("llama", 4096, 32, 32, 32, 11008, 32000, 4096),
    "13b": _shape("llama", 5120, 40, 40, 40, 13824, 32000, 4096),
    "70b": _shape("llama", 8192, 80, 64, 8, 28672, 32000, 4096),
}
_LLAMA31 = {
    "8B": _shape("llama", 4096, 32, 32, 8, 14336, 128256, 131072),
    "70B": _shape("llama", 8192, 80, 64, 8, 28672, 128256, 131072),
    "405B": _shape("llama", 16384, 126, 128, 8, 53248, 128256, 131072),
}
_LLAMA32 = {
    "1B": _shape("llama", 2048, 16, 32, 8, 8192, 128256, 131072, tied=True),
    "3B": _shape("llama", 3072, 28, 24, 8, 8192, 128256, 131072, tied=True),
}
_TINY_LLAMA = _shape("llama", 2048, 22, 32, 4, 5632, 32000, 2048)
_SMOLLM2 = {
    "135M": _shape("llama", 576, 30, 9, 3, 1536, 49152, 8192, tied=True),
    "360M": _shape("llama", 960, 32, 15, 5, 2560, 49152, 8192, tied=True),
    "1.7B": _shape("llama", 2048, 24, 32, 32, 8192, 49152, 8192, tied=True),
}
_SMOLLM3 = _shape("smollm3", 2048, 36, 16, 4, 11008, 128256, 65536, tied=True)
_MISTRAL_V1 = _shape("mistral", 4096, 32, 32, 8, 14336, 32000, 32768, sliding_window=4096)
_MISTRAL_V2 = {**_MISTRAL_V1, "sliding_window": None}
_MISTRAL_V3 = {**_MISTRAL_V2, "vocab_size": 32768}
_NEMO = _shape("mistral", 5120, 40, 32, 8, 14336, 131072, 131072, head_dim=128, sliding_window=None)
_MISTRAL_SMALL = _shape("mistral", 5120, 40, 32, 8, 32768, 131072, 32768, head_dim=128, sliding_window=None)
_MIXTRAL = {
    "8x7B": _shape("mixtral", 4096, 32, 32, 8, 14336, 32000, 32768, num_local_experts=8, num_experts_per_tok=2),
    "8x22B": _shape("mixtral", 6144, 56, 48, 8, 16384, 32768, 65536, num_local_experts=8, num_experts_per_tok=2),
}
_PHI3_MINI = _shape("phi3", 3072, 32, 32, 32, 8192, 32064, 4096, sliding_window=2047)
_PHI3_MEDIUM = _shape("phi3", 5120, 40, 40, 10, 17920, 32064, 4096, sliding_window=2047)
_PHI4 = _shape("phi3", 5120, 40, 40, 10, 17920, 100352, 16384)
_PHI4_MINI = _shape(
    "phi3", 3072, 32, 24, 8, 8192, 200064, 131072, tied=True, sliding_window=262144, partial_rotary_factor=0.75
)
_GEMMA = {
    "2b": _shape("gemma", 2048, 18, 8, 1, 16384, 256000, 8192, tied=True, head_dim=256),
    "7b": _shape("gemma", 3072, 28, 16, 16, 24576, 256000, 8192, tied=True, head_dim=256),
}
_GEMMA2 = {
    "2b": _shape("gemma2", 2304, 26, 8, 4, 9216, 256000, 8192, tied=True, head_dim=256),
    "9b": _shape("gemma2", 3584, 42, 16, 8, 14336, 256000, 8192, tied=True, head_dim=256),
    "27b": _shape("gemma2", 4608, 46, 32, 16, 36864, 256000, 8192, tied=True, head_dim=128),
}
_GEMMA3_270M = _shape("gemma3_text", 640, 18, 4, 1, 2048, 262144, 32768, tied=True, head_dim=256, sliding_window=512)
_GEMMA3_1B = _shape("gemma3_text", 1152, 26, 4, 1, 6912, 262144, 32768, tied=True, head_dim=256, sliding_window=512)
_OLMO2 = {
    "0425-1B": _shape("olmo2", 2048, 16, 16, 16, 8192, 100352, 4096),
    "1124-7B": _shape("olmo2", 4096, 32, 32, 32, 11008, 100352, 4096),
    "1124-13B": _shape("olmo2", 5120, 40, 40, 40, 13824, 100352, 4096),
    "0325-32B": _shape("olmo2", 5120, 64, 40, 8, 27648, 100352, 4096),
}
_OLMOE = _shape("olmoe", 2048, 16, 16, 16, 1024, 50304, 4096, num_experts=64, num_experts_per_tok=8)
_GRANITE = {
    "2b": _shape("granite", 2048, 40, 32, 8, 8192, 49155, 131072, tied=True),
    "8b": _shape("granite", 4096, 40, 32, 8, 12800, 49155, 131072, tied=True),
}


def _qwen() -> Iterator[tuple[str, Shape]]:
    for size, shape in _QWEN25.items():
        yield f"Qwen/Qwen2.5-{size}", _long(shape, 131072) if size in _QWEN25_LONG_BASES else shape
        yield f"Qwen/Qwen2.5-{size}-Instruct", shape
        for kind in ("", "-Instruct"):
            if size != "72B":
                yield f"Qwen/Qwen2.5-Coder-{size}{kind}", shape
            if size in ("1.5B", "7B", "72B"):
                yield f"Qwen/Qwen2.5-Math-{size}{kind}", _long(shape, 4096)
    for size, shape in (*_QWEN3.items(), *_QWEN3_MIXTURES.items()):
        yield f"Qwen/Qwen3-{size}", shape
        if size not in ("32B", "235B-A22B"):
            yield f"Qwen/Qwen3-{size}-Base", _long(shape, 32768)
        if size in ("4B", "30B-A3B", "235B-A22B"):
            for kind in ("Instruct", "Thinking"):
                yield f"Qwen/Qwen3-{size}-{kind}-2507", _long(shape, 262144)


def _llama() -> Iterator[tuple[str, Shape]]:
    for size, shape in _LLAMA2.items():
        yield f"meta-llama/Llama-2-{size}-hf", shape
        yield f"meta-llama/Llama-2-{size}-chat-hf", shape
    for kind in ("", "-Instruct"):
        for size in ("8B", "70B"):
            yield f"meta-llama/Meta-Llama-3-{size}{kind}", _long(_LLAMA31[size], 8192)
        for size, shape in _LLAMA31.items():
            yield f"meta-llama/Llama-3.1-{size}{kind}", shape
            yield f"meta-llama/Meta-Llama-3.1-{size}{kind}", shape
        for size, shape in _LLAMA32.items():
            yield f"meta-llama/Llama-3.2-{size}{kind}", shape
        for size, shape in _SMOLLM2.items():
            yield f"HuggingFaceTB/SmolLM2-{size}{kind}", shape
    yield "meta-llama/Llama-3.3-70B-Instruct", _LLAMA31["70B"]
    yield "TinyLlama/TinyLlama-1.1B-Chat-v1.0", _TINY_LLAMA
    yield "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", _TINY_LLAMA


def _mistral() -> Iterator[tuple[str, Shape]]:
    for kind in ("", "-Instruct"):
        yield f"mistralai/Mistral-7B{kind}-v0.1", _MISTRAL_V1
        yield f"mistralai/Mistral-7B{kind}-v0.3", _MISTRAL_V3
        yield f"mistralai/Mixtral-8x7B{kind}-v0.1", _MIXTRAL["8x7B"]
    yield "mistralai/Mistral-7B-Instruct-v0.2", _MISTRAL_V2
    yield "mistralai/Mixtral-8x22B-Instruct-v0.1", _MIXTRAL["8x22B"]
    for kind in ("Base", "Instruct"):
        yield f"mistralai/Mistral-Nemo-{kind}-2407", _NEMO
        yield f"mistralai/Mistral-Small-24B-{kind}-2501", _MISTRAL_SMALL


def _phi() -> Iterator[tuple[str, Shape]]:
    yield "microsoft/Phi-3-mini-4k-instruct", _PHI3_MINI
    yield "microsoft/Phi-3-mini-128k-instruct", _long(_PHI3_MINI, 131072, sliding_window=262144)
    yield "microsoft/Phi-3.5-mini-instruct", _long(_PHI3_MINI, 131072, sliding_window=262144)
    yield "microsoft/Phi-3-medium-4k-instruct", _PHI3_MEDIUM
    yield "microsoft/Phi-3-medium-128k-instruct", _long(_PHI3_MEDIUM, 131072, sliding_window=131072)
    yield "microsoft/phi-4", _PHI4
    yield "microsoft/Phi-4-mini-instruct", _PHI4_MINI


def _gemma() -> Iterator[tuple[str, Shape]]:
    for kind in ("", "-it"):
        for size, shape in _GEMMA.items():
            yield f"google/gemma-{size}{kind}", shape
        for size, shape in _GEMMA2.items():
            yield f"google/gemma-2-{size}{kind}", shape
        yield f"google/gemma-3-270m{kind}", _GEMMA3_270M
    yield "google/gemma-3-1b-pt", _GEMMA3_1B
    yield "google/gemma-3-1b-it", _GEMMA3_1B


def _others() -> Iterator[tuple[str, Shape]]:
    for kind in ("", "-Base"):
        yield f"HuggingFaceTB/SmolLM3-3B{kind}", _SMOLLM3
    for kind in ("", "-Instruct"):
        for size, shape in _OLMO2.items():
            yield f"allenai/OLMo-2-{size}{kind}", shape
        for month in ("0924", "0125"):
            yield f"allenai/OLMoE-1B-7B-{month}{kind}", _OLMOE
    for size, shape in _GRANITE.items():
        yield f"ibm-granite/granite-3.0-{size}-instruct", _long(shape, 4096)
        yield f"ibm-granite/granite-3.1-{size}-instruct", shape
        yield f"ibm-granite/granite-3.2-{size}-instruct", shape
        yield f"ibm-granite/granite-3.3-{size}-instruct", {**shape, "vocab_size": 49159}


ARCHITECTURES: Mapping[str, Shape] = dict((*_qwen(), *_llama(), *_mistral(), *_phi(), *_gemma(), *_others()))
