"""The leading singular triplets of a matrix by random projection, where its full decomposition would take minutes.

Halko, Martinsson and Tropp 2011 (0909.4061), algorithms 4.4 and 5.1: Q spans (M M^T)^q M G for a random G (n, k + p),
orthonormalised after every product, and the SVD of the small Q^T M gives the triplets. With p directions more than are
kept and q products with M M^T, the error is that of Eckart and Young up to a factor near 1 for any fading spectrum.
"""

import torch
from torch import Tensor

OVERSAMPLING = 16
POWER_ITERATIONS = 2


def randomised_svd(
    matrix: Tensor, rank: int, *, generator: torch.Generator, oversampling: int, power_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, k), sigma (k,) descending, V^T (k, n) of a matrix (m, n) in float64, k = min(rank, m, n).

    Args:
        matrix: float64.
        rank: how many triplets.
        generator: of the Gaussian test matrix.
        oversampling: p, the directions beyond `rank` that are carried along.
        power_iterations: q; more of them where the spectrum fades slowly.
    """
    smaller = min(matrix.shape)
    if rank + oversampling >= smaller:
        u, sigma, vt = torch.linalg.svd(matrix, full_matrices=False)
    else:
        basis = _range(matrix, rank + oversampling, generator, power_iterations)
        inner, sigma, vt = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        u = basis @ inner
    kept = min(rank, smaller)
    return u[:, :kept], sigma[:kept], vt[:kept]


def _range(matrix: Tensor, width: int, generator: torch.Generator, power_iterations: int) -> Tensor:
    """Orthonormal (m, width) that nearly spans the leading left singular vectors."""
    test = torch.randn(matrix.shape[1], width, generator=generator, dtype=torch.float64).to(matrix.device)
    basis: Tensor = torch.linalg.qr(matrix @ test)[0]
    for _ in range(power_iterations):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis)[0])[0]
    return basis
