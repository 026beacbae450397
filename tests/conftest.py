"""For every test: processes are forked from this one, and a pool of threads does not survive a fork."""

from __future__ import annotations

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"
