"""How much memory torch code really takes: every storage is followed from its first sight to its last reference.

A dispatch mode sees what each operator makes, forward, backward and in the optimizer, as long as that runs on the
thread that called ``measure``; on the CPU all of it does. What a kernel allocates and frees inside of itself is unseen.
Under a dispatch mode autograd adds gradients that meet, and scatters into zeros, out of place; so does the prediction.
"""

from __future__ import annotations

import collections
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

BLOCK = 512
"""What the CUDA caching allocator rounds to, and so does the prediction; 1 counts the bytes themselves."""


@attrs.frozen
class Share:
    """Storages of one size, first seen at one operator, that are alive at the peak."""

    operator: str
    description: str
    """Type and shape at first sight."""
    count: int
    bytes: int
    """Of all of them together."""


@attrs.frozen
class Measured:
    """The peak of a run."""

    peak_bytes: int
    moment: str
    """``forward``, ``backward``, ``optimizer step`` or, where no graph is made, ``no grad``."""
    operator: str
    """The operator whose result made the peak."""
    peaks: dict[str, int]
    """The peak of every moment."""
    alive: tuple[Share, ...]
    """What the peak is made of, the largest first."""


@attrs.frozen
class _Storage:
    bytes: int
    operator: str
    description: str


class StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that operators take or give while it is entered."""

    def __init__(self, *, block: int = BLOCK) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._block = block
        self._storages: dict[int, _Storage] = {}
        self._finalizers: list[weakref.finalize[..., Any]] = []
        self._is_stepping = False
        self._live_bytes = 0
        self._peak_bytes = 0
        self._peaks: dict[str, int] = {}
        self._at = ("", "")
        self._alive: list[_Storage] = []

    def hold(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count ``tensors`` that were there before."""
        for tensor in tensors:
            self._see(tensor, "before")
        self._compare("before")

    def __enter__(self) -> StorageTracker:
        self._hooks = (
            register_optimizer_step_pre_hook(lambda *_: self._step(True)),
            register_optimizer_step_post_hook(lambda *_: self._step(False)),
        )
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = str(func)
        for value in tree_iter((args, kwargs, result)):
            if isinstance(value, torch.Tensor):
                self._see(value, name)
        self._compare(name)
        return result

    def measured(self) -> Measured:
        """What was counted so far."""
        shares: dict[_Storage, int] = collections.Counter(self._alive)
        alive = (Share(s.operator, s.description, count, count * s.bytes) for s, count in shares.items())
        return Measured(
            peak_bytes=self._peak_bytes,
            moment=self._at[0],
            operator=self._at[1],
            peaks=dict(self._peaks),
            alive=tuple(sorted(alive, key=lambda share: -share.bytes)),
        )

    def forget(self) -> None:
        """Follow nothing any longer."""
        for finalizer in self._finalizers:
            finalizer.detach()

    def _step(self, is_stepping: bool) -> None:
        self._is_stepping = is_stepping

    def _see(self, tensor: torch.Tensor, operator: str) -> None:
        for inner in _plain(tensor):
            storage = inner.untyped_storage()
            key = storage._cdata
            if key in self._storages or storage.device.type == "meta":
                continue
            size = -(-storage.nbytes() // self._block) * self._block
            kind = str(inner.dtype).removeprefix("torch.")
            self._storages[key] = _Storage(size, operator, f"{kind}{list(inner.shape)}")
            self._live_bytes += size
            # Torch keeps one Python object for each storage as long as the storage lives.
            self._finalizers.append(weakref.finalize(storage, self._release, key))

    def _release(self, key: int) -> None:
        self._live_bytes -= self._storages.pop(key).bytes

    def _compare(self, operator: str) -> None:
        moment = self._moment()
        self._peaks[moment] = max(self._peaks.get(moment, 0), self._live_bytes)
        if self._live_bytes > self._peak_bytes:
            self._peak_bytes = self._live_bytes
            self._at = (moment, operator)
            self._alive = list(self._storages.values())

    def _moment(self) -> str:
        if self._is_stepping:
            return "optimizer step"
        if torch._C._current_graph_task_id() != -1:
            return "backward"
        return "forward" if torch.is_grad_enabled() else "no grad"


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors inside of a wrapper, or the tensor itself."""
    if type(tensor).__torch_dispatch__ is torch._C._disabled_torch_dispatch_impl:
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    for name in names:
        yield from _plain(getattr(tensor, name))


def measure(run: Callable[[], object], *, alive: Iterable[torch.Tensor] = (), block: int = BLOCK) -> Measured:
    """Peak of the live bytes while ``run`` runs, each storage rounded up to ``block``.

    ``alive``: tensors that are there from the beginning. Other older tensors count from the first operator on that
    reads them.
    """
    tracker = StorageTracker(block=block)
    tracker.hold(alive)
    try:
        with tracker:
            run()
    finally:
        tracker.forget()
    return tracker.measured()
