"""From the last hidden states to the loss of ORPO and SimPO, as TRL's trainers compute it: over all logits.

Chosen and rejected sequences go through the model in one batch, T tokens in all, and no logit is left out: the prompt's
and the padding's are made, widened and differentiated like the rest. "M" stands for the sequences · (sequence - 1)
tokens that have a next one. Given a 4-bit model and a ``peft_config``, these trainers also call
``prepare_model_for_kbit_training``, which is ``kbit_prepared`` here.

Sources: trl/experimental/orpo/orpo_trainer.py and cpo/cpo_trainer.py (``concatenated_forward``, ``get_batch_logps``),
trl/kernels/logprob_entropy.py (1.16); accelerate/utils/operations.py (1.15, ``ConvertOutputsToFp32``).
"""

from __future__ import annotations

from collections.abc import Sequence

from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Dims, Graph, Tensor
from backprop.plan.memory.loss_head import log_softmax
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.term import TermName


def returned_logits(graph: Graph, hidden: Tensor, head: Tensor, *, soft_caps: bool) -> Tensor:
    """What the model hands its trainer; (T, H) -> (T, V).

    The autocast context, and with it the casts of the parameters, ends with the model's forward; accelerate then
    widens the logits to fp32.
    """
    previous, graph.tape.term = graph.tape.term, TermName.LOGITS
    logits = op.linear(graph, hidden, head, ("T", "V"))
    if soft_caps:
        logits = op.scale(graph, logits)
        logits = op.pointwise_of_result(graph, logits)
        logits = op.scale(graph, logits)
    if graph.casts is not None:
        graph.casts.clear()
        graph.casts = None
        logits = op.cast(graph, logits, 4)
    graph.tape.term = previous
    return logits


def paired_loss(graph: Graph, logits: Tensor, objective: Objective, *, is_one_pair: bool) -> Tensor:
    """(T, V) -> a scalar: the mean log-probabilities of both sequences, and for ORPO the chosen ones' cross-entropy."""
    previous, graph.tape.term = graph.tape.term, TermName.LOGITS
    nll = None
    if objective is Objective.ORPO:
        for_nll, logits = _shared(graph, logits)
        nll = _chosen_nll(graph, for_nll, is_one_pair=is_one_pair)
        del for_nll
    loss = op.mean(graph, _log_probs(graph, logits), ())
    graph.tape.term = previous
    return loss if nll is None else op.add(graph, nll, loss)


def _shared(graph: Graph, logits: Tensor) -> list[Tensor]:
    """The logits for two readers; of their gradients the engine adds the second to the first in place."""
    node = graph.record([logits], lambda _g, _saved, grads: [grads[0]])
    if node is not None:
        node.grads = [None, None]
    readers = []
    for slot in range(2):
        reader = Tensor(logits.dims, logits.itemsize, logits.buffer, needs_grad=node is not None, node=node)
        reader.slot = slot
        readers.append(reader)
    return readers


def _chosen_nll(graph: Graph, logits: Tensor, *, is_one_pair: bool) -> Tensor:
    """``CrossEntropyLoss`` of prompt and chosen response; ``contiguous`` copies unless there is one sequence only."""
    chosen = op.part(graph, logits, ("1/2", "T", "V"), term=TermName.LOGITS)
    shifted = op.part(graph, chosen, ("1/2", "M", "V"), term=TermName.LOGITS)
    del chosen
    if not is_one_pair:
        shifted = op.copy(graph, shifted)
    labels = graph.new(("1/2", "M"), 8)
    log_probs = log_softmax(graph, shifted)
    dims, itemsize = log_probs.dims, log_probs.itemsize
    del shifted

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        return [g.new(dims, itemsize, term=TermName.LOGITS)]

    return graph.result((), itemsize, graph.record([log_probs], formula, [log_probs, labels]))


def _log_probs(graph: Graph, logits: Tensor) -> Tensor:
    """``get_batch_logps``: the labels' log-probabilities in fp32, those outside of the responses zeroed."""
    labels = graph.new(("M",), 8)
    mask = graph.new(("M",), 1)
    per_token = _selected(graph, op.part(graph, logits, ("M", "V"), term=TermName.LOGITS), labels)
    del labels
    return op.multiply(graph, per_token, mask)


def _selected(graph: Graph, logits: Tensor, labels: Tensor) -> Tensor:
    """The Triton kernel: saves the logits and two statistics of each row; backward makes the gradient in one piece."""
    dims, itemsize = logits.dims, logits.itemsize
    rows: Dims = ("M",)
    entropy, log_z, expected = (graph.new(rows, 4) for _ in range(3))

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        return [g.new(dims, itemsize, term=TermName.LOGITS)]

    node = graph.record([logits], formula, [logits, labels, log_z, expected])
    del entropy
    return graph.result(rows, 4, node)
