"""llama.cpp in a process of its own, so that a file it cannot take ends that process and not ours.

Run as a module it loads a GGUF file, prints where it listens on this machine, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_TAIL_LINES = 20
_ANSWER_SECONDS = 600
_CERTAIN = 1000.0
"""Added to the logit of a token that is to be sampled."""


def is_available() -> bool:
    """The package that brings llama.cpp is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


@attrs.frozen
class LlamaCpp:
    """A loaded model that answers."""

    host: str
    port: int

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The ids of a text that carries its special tokens."""
        answer = self._ask("/tokenize", {"content": text, "add_special": False, "parse_special": True})
        return tuple(answer["tokens"])

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A conversation by the file's chat template, up to where the assistant begins to speak."""
        answer: str = self._ask("/apply-template", {"messages": list(messages)})["prompt"]
        return answer

    def log_probabilities(self, ids: Sequence[int], *, num_tokens: int) -> Mapping[int, float]:
        """Of each of the ``num_tokens`` tokens of the vocabulary to come next."""
        # The probabilities are from before sampling. Were the sample an end token or half a character, none would come.
        chosen = [[self.tokenize("a")[-1], _CERTAIN]]
        asked = {"prompt": list(ids), "n_predict": 1, "n_probs": num_tokens, "logit_bias": chosen, "temperature": 0}
        asked["cache_prompt"] = False
        first = self._ask("/completion", asked)["completion_probabilities"][0]
        return {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]}

    def complete(self, ids: Sequence[int], *, max_tokens: int) -> str:
        """What follows, the most likely token each time."""
        asked = {"prompt": list(ids), "n_predict": max_tokens, "temperature": 0, "cache_prompt": False}
        answer: str = self._ask("/completion", asked)["content"]
        return answer

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.client.OK:
                raise OSError(f"llama.cpp answered {answer.status}: {text[:200].decode('utf-8', 'replace')}")
            return json.loads(text)


@contextlib.contextmanager
def loaded(model: Path, *, lora: Path | None = None, num_threads: int = 1, context: int = 1024) -> Iterator[LlamaCpp]:
    """A model, with an adapter if one is given, for as long as the block runs.

    Raises RUNTIME_GGUF_EXPORT_FAILED when llama.cpp does not load it, or ends while it is asked.
    """
    settings = {"model": str(model), "lora": str(lora) if lora else None, "threads": num_threads, "context": context}
    command = [sys.executable, "-m", __name__, json.dumps(settings)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said: deque[str] = deque(maxlen=_TAIL_LINES)
        listener = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
        listener.start()
        try:
            address = urlsplit(process.stdout.readline().strip())
            if address.port is None:
                _fail(model, process, listener, said)
            try:
                yield LlamaCpp(str(address.hostname), address.port)
            except (OSError, http.client.HTTPException) as error:
                if process.poll() is not None:
                    _fail(model, process, listener, said)
                raise _failed(f"llama.cpp loads {model} and does not answer: {error}") from error
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _fail(model: Path, process: subprocess.Popen[str], listener: threading.Thread, said: deque[str]) -> NoReturn:
    process.kill()
    process.wait()
    listener.join(timeout=10)
    errors = [line.strip() for line in said if "error" in line.lower()] or [line.strip() for line in said]
    why = errors[0] if errors else f"it ended with {process.returncode}"
    raise _failed(f"llama.cpp does not load {model}: {why}")


def _failed(message: str) -> BackpropError:
    hint = "Export with --no-verify to have the file all the same."
    return BackpropError(Problem("RUNTIME_GGUF_EXPORT_FAILED", message, hint=hint))


def serve(settings: Mapping[str, Any]) -> None:
    """Load, say where, and wait for the end of standard input."""
    module: Any = __import__("xllamacpp")
    params = module.CommonParams()
    params.model.path = settings["model"]
    params.n_ctx = settings["context"]
    params.n_parallel = 1
    params.warmup = False
    params.fit_params = False
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    if settings["lora"]:
        params.lora_adapters = [module.CommonAdapterLoraInfo(settings["lora"], 1.0)]
    server = module.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201
    sys.stdin.read()
    del server


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
