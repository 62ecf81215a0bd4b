"""Products with probe vectors in float64, of matrices that are stored in fewer bits."""

import torch
from torch import Tensor

ROWS = 96
"""Rows that are widened at a time: they stay in the processor's cache."""


def product(matrix: Tensor, probes: Tensor) -> Tensor:
    """matrix @ probes: (m, n) in any floating dtype, (n, p) float64 -> (m, p) float64, accumulated in float64."""
    if matrix.dtype == torch.float64:
        return matrix @ probes
    return torch.cat([widened(rows) @ probes for rows in torch.split(matrix, ROWS)])


def widened(tensor: Tensor) -> Tensor:
    """In float64; by way of float32, which holds fp16 and bf16 exactly and is the faster road."""
    return tensor.to(torch.float64) if tensor.dtype == torch.float64 else tensor.to(torch.float32).to(torch.float64)
