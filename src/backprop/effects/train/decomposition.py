"""The principal directions of a matrix: all of a small one's, those of a large one by a randomized range finder."""

from __future__ import annotations

import torch

from backprop.plan.training.initial import OVERSAMPLING, POWER_ITERATIONS, is_exact

Factors = tuple[torch.Tensor, torch.Tensor]
"""A (r, in) and B (out, r) of an adapter."""


def principal_factors(matrix: torch.Tensor, rank: int, *, scale: float, seed: int) -> Factors:
    """A (k, in) and B (out, k) such that scale·B·A is the best approximation of ``matrix`` of rank k, at most ``rank``.

    (out, in) float32; each singular value is shared evenly by its row of A and its column of B (arXiv:2404.02948,
    equations 2 and 3). The same seed gives the same bits on the same machine.
    """
    left, values, right = _singular(matrix, rank, seed)
    root = torch.sqrt(values / scale)
    return root[:, None] * right, left * root


def _singular(matrix: torch.Tensor, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U (out, k), S (k), Vᵀ (k, in)."""
    rows, columns = matrix.shape
    if is_exact(rows, columns, rank=rank):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    else:
        basis = _range_of(matrix, rank + OVERSAMPLING, seed)
        inner, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        left = basis @ inner
    return left[:, :rank], values[:rank], right[:rank]


def _range_of(matrix: torch.Tensor, width: int, seed: int) -> torch.Tensor:
    """An orthonormal basis (out, width) of where most of ``matrix`` leads (Halko, arXiv:0909.4061, algorithm 4.4)."""
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randn(matrix.shape[1], width, generator=generator).to(matrix)
    basis: torch.Tensor = torch.linalg.qr(matrix @ probes).Q
    for _ in range(POWER_ITERATIONS):
        basis = torch.linalg.qr(matrix.T @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    return basis
