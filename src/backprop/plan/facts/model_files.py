"""The names of the files that a model has besides its weights: what is handed over, exported and pushed of them."""

from __future__ import annotations

CHAT_TEMPLATE_FILE = "chat_template.jinja"
CONFIG_FILES = ("config.json", "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    CHAT_TEMPLATE_FILE,
    "chat_template.json",
)
"""A tokenizer with its template, which is one thing: of two directories' files no tokenizer can be made."""
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "USE_POLICY.md")
