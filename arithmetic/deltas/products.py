"""Products with probe vectors in float64, of matrices that are stored in fewer bits."""

import torch
from torch import Tensor

BLOCK_ELEMENTS = 1 << 17
"""What is widened at a time: 1 MB of float64, which stays in a core's own cache."""


def product(matrix: Tensor, probes: Tensor) -> Tensor:
    """matrix @ probes: (m, n) in any floating dtype, (n, p) float64 -> (m, p) float64, accumulated in float64."""
    if matrix.dtype == torch.float64:
        return matrix @ probes
    rows = max(1, BLOCK_ELEMENTS // max(1, matrix.shape[1]))
    return torch.cat([widened(block) @ probes for block in torch.split(matrix, rows)])


def widened(tensor: Tensor) -> Tensor:
    """In float64; by way of float32, which holds fp16 and bf16 exactly and is the faster road."""
    return tensor.to(torch.float64) if tensor.dtype == torch.float64 else tensor.to(torch.float32).to(torch.float64)
