"""Which entries of a delta stay, by magnitude; and how what stays is rescaled."""

import torch
from torch import Tensor


def largest(delta: Tensor, density: float) -> Tensor:
    """The int(density * n) entries of largest magnitude, at least one; the rest are 0.

    Exactly that many: where magnitudes are equal, the entry that comes first in row-major order stays.

    Args:
        delta: (m, N), n = m * N entries.
        density: in (0, 1]; 1 keeps everything.
    """
    count = max(1, int(density * delta.numel()))
    magnitudes = delta.abs().flatten()
    threshold = magnitudes.kthvalue(magnitudes.numel() - count + 1).values
    kept = magnitudes > threshold
    equal = (magnitudes == threshold).nonzero().flatten()
    kept[equal[: count - int(kept.sum())]] = True
    return delta * kept.reshape(delta.shape)


def above_quantile(delta: Tensor, density: float) -> Tensor:
    """sd-mecha's trim: every entry at least as large as the int((1 - density) * n)-th smallest magnitude.

    That is one entry more than `largest` keeps, and all entries that equal the threshold.

    Args:
        delta: (m, N), n = m * N entries.
        density: in (0, 1]; 1 keeps everything.
    """
    magnitudes = delta.abs()
    threshold = magnitudes.flatten().kthvalue(max(1, int((1 - density) * delta.numel()))).values
    return delta * (magnitudes >= threshold)


def magnitude_ranks(delta: Tensor) -> Tensor:
    """0 for the smallest magnitude of each row to 1 for its largest, in equal steps; equal magnitudes by their column.

    Args:
        delta: (m, N); a row of one entry ranks 1/2.

    Returns:
        (m, N) in float64.
    """
    columns = delta.shape[1]
    if columns == 1:
        return torch.full_like(delta, 0.5, dtype=torch.float64)
    order = delta.abs().argsort(dim=1, stable=True)
    steps = torch.linspace(0, 1, columns, dtype=torch.float64, device=delta.device)
    return torch.empty_like(delta, dtype=torch.float64).scatter_(1, order, steps.expand_as(order))


def rescaled_to(kept: Tensor, delta: Tensor, least: float = 1e-7) -> Tensor:
    """`kept` with the L1 norm of `delta`, as mergekit rescales; unchanged where either norm is below `least`."""
    before, after = delta.abs().sum(), kept.abs().sum()
    return kept * (before / after) if before >= least and after >= least else kept
