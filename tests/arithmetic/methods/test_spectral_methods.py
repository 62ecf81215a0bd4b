"""TSV-M, Iso-C, the projection, KnOTS and merges in Core Space: their equations by another route, and their laws."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from peft.utils.merge_utils import magnitude_prune
from peft.utils.merge_utils import ties as ties_of_peft
from torch import Tensor

from arithmetic.methods import core, iso, knots, project, tsv
from arithmetic.randomness import generator_for

WEIGHTS = (0.8, -0.5)


def weights_tensor(count: int) -> Tensor:
    return torch.tensor(WEIGHTS[:count], dtype=torch.float64)


def in_core(deltas: list[Tensor], merge: str, density: float) -> Tensor:
    return core(deltas, WEIGHTS, generator=generator_for(0, "m"), merge=merge, density=density)


def test_tsv_on_full_rank_deltas_is_the_papers_formula(deltas: Callable) -> None:
    """numpy: the first half of the triplets of each of two, U and V replaced by U (U^T U)^-1/2."""
    drawn = deltas(2, shape=(8, 11))
    triplets = [np.linalg.svd((w * d).numpy(), full_matrices=False) for w, d in zip(WEIGHTS, drawn, strict=True)]
    u = np.concatenate([u[:, :4] for u, _, _ in triplets], axis=1)
    v = np.concatenate([vh[:4].T for _, _, vh in triplets], axis=1)
    sigma = np.concatenate([s[:4] for _, s, _ in triplets])
    expected = whitened(u) * sigma @ whitened(v).T
    np.testing.assert_allclose(tsv(drawn, WEIGHTS).numpy(), expected, rtol=0, atol=1e-10)


def whitened(basis: np.ndarray) -> np.ndarray:
    """U (U^T U)^-1/2 by an eigendecomposition."""
    values, vectors = np.linalg.eigh(basis.T @ basis)
    return basis @ (vectors / np.sqrt(values)) @ vectors.T


def test_tsv_of_one_vector_is_that_vector(factors: Callable) -> None:
    (one,) = factors((5,))
    assert torch.allclose(tsv([one.dense()], [0.8]), 0.8 * one.dense(), rtol=0, atol=1e-10)


def test_tsv_keeps_all_of_deltas_that_do_not_meet(factors: Callable) -> None:
    one, two = (part.dense() for part in factors((3, 4), shape=(10, 12)))
    apart = [torch.block_diag(one, torch.zeros_like(two)), torch.block_diag(torch.zeros_like(one), two)]
    assert torch.allclose(tsv(apart, WEIGHTS), 0.8 * apart[0] - 0.5 * apart[1], rtol=0, atol=1e-10)


def test_tsv_of_a_vector_with_itself_keeps_its_leading_half(factors: Callable) -> None:
    (one,) = factors((6,))
    u, sigma, vh = torch.linalg.svd(one.dense(), full_matrices=False)
    assert torch.allclose(tsv([one.dense()] * 2, [1.0, 1.0]), (u[:, :3] * sigma[:3]) @ vh[:3], rtol=0, atol=1e-10)


def test_tsv_takes_the_share_of_the_larger_rank_from_the_larger_rank(factors: Callable) -> None:
    made = tsv([part.dense() for part in factors((9, 1), shape=(20, 30))], WEIGHTS)
    assert int(torch.linalg.matrix_rank(made)) == 10


def test_iso_gives_every_direction_of_the_sum_the_same_strength(factors: Callable) -> None:
    parts = [part.dense() for part in factors((3, 4))]
    before = torch.linalg.svdvals(0.8 * parts[0] - 0.5 * parts[1])
    after = torch.linalg.svdvals(iso(parts, WEIGHTS))
    assert torch.allclose(after[:7], before[:7].mean().expand(7), rtol=1e-10)
    assert float(after[7:].max()) < 1e-10 * float(after[0])


def test_iso_of_full_rank_deltas_is_the_papers_formula(deltas: Callable) -> None:
    drawn = deltas(2)
    u, sigma, vh = np.linalg.svd((0.8 * drawn[0] - 0.5 * drawn[1]).numpy(), full_matrices=False)
    np.testing.assert_allclose(iso(drawn, WEIGHTS).numpy(), sigma.mean() * u @ vh, rtol=0, atol=1e-10)


@pytest.mark.parametrize("k", [1, 3, 5, 50])
def test_projection_leaves_nothing_inside_the_pair_of_subspaces(factors: Callable, k: int) -> None:
    style, acceleration = (part.dense() for part in factors((6, 5)))
    made = project([style, acceleration], (0.7, 2.0), k=k)
    u, _, vh = torch.linalg.svd(acceleration)
    k = min(k, 5)
    assert float((u[:, :k].T @ made @ vh[:k].T).norm()) < 1e-10 * float(style.norm())
    removed = 0.7 * style - made
    assert torch.allclose(u[:, :k] @ u[:, :k].T @ removed @ vh[:k].T @ vh[:k], removed, rtol=0, atol=1e-10)
    assert torch.allclose(project([made, acceleration], (1.0, 1.0), k=k), made, rtol=0, atol=1e-10)


def test_projection_reads_the_acceleration_as_a_subspace_without_length(factors: Callable) -> None:
    style, acceleration = (part.dense() for part in factors((6, 5)))
    one, other = (project([style, acceleration], (0.7, weight), k=2) for weight in (1.0, -3.0))
    assert torch.equal(one, other)
    assert torch.allclose(one, project([style, 5 * acceleration], (0.7, 1.0), k=2), rtol=0, atol=1e-10)


def test_projection_where_one_of_the_two_is_missing(factors: Callable) -> None:
    style, acceleration = (part.dense() for part in factors((6, 5)))
    nothing = torch.zeros_like(style)
    assert torch.equal(project([style, nothing], (0.7, 1.0), k=4), 0.7 * style)
    assert torch.equal(project([nothing, acceleration], (0.7, 1.0), k=4), nothing)


def test_projection_of_the_acceleration_out_of_itself_is_nothing(factors: Callable) -> None:
    _, acceleration = (part.dense() for part in factors((6, 5)))
    assert float(project([acceleration] * 2, (1.0, 1.0), k=5).norm()) < 1e-10 * float(acceleration.norm())


@pytest.mark.parametrize(("merge", "theirs"), [("ties", ties_of_peft), ("linear", magnitude_prune)])
@pytest.mark.parametrize("density", [0.2, 0.6])
def test_knots_merges_the_right_components_as_peft_merges_tensors(
    factors: Callable, merge: str, theirs: Callable, density: float
) -> None:
    """numpy's SVD of the concatenation, the paper's S V_i^T."""
    parts = [part.dense() for part in factors((3, 4))]
    u, sigma, vh = np.linalg.svd(np.concatenate([part.numpy() for part in parts], axis=1), full_matrices=False)
    components = np.split(sigma[:7, None] * vh[:7], 2, axis=1)
    chosen = theirs([torch.from_numpy(component) for component in components], weights_tensor(2), density)
    np.testing.assert_allclose(
        knots(parts, WEIGHTS, merge=merge, density=density), u[:, :7] @ chosen.numpy(), atol=1e-10
    )


def test_knots_with_every_entry_and_a_linear_merge_is_the_weighted_sum(factors: Callable) -> None:
    parts = [part.dense() for part in factors((3, 4))]
    made = knots(parts, WEIGHTS, merge="linear", density=1.0)
    assert torch.allclose(made, 0.8 * parts[0] - 0.5 * parts[1], rtol=0, atol=1e-12)


def test_knots_is_invariant_on_the_left_and_not_on_the_right(factors: Callable) -> None:
    """Why it is a dense method."""
    parts = [part.dense() for part in factors((3, 4))]
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q for size in (20, 30)
    )
    plain = knots(parts, WEIGHTS, merge="ties", density=0.3)
    turned = knots([left @ part for part in parts], WEIGHTS, merge="ties", density=0.3)
    assert torch.allclose(turned, left @ plain, rtol=0, atol=1e-10)
    mixed = knots([part @ right for part in parts], WEIGHTS, merge="ties", density=0.3)
    assert float((mixed - plain @ right).norm()) > 0.1 * float(plain.norm())


def test_knots_of_nothing_is_nothing() -> None:
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    assert torch.equal(knots([zeros, zeros], WEIGHTS, merge="ties", density=0.5), zeros)


@pytest.mark.parametrize(("merge", "theirs"), [("ties", ties_of_peft), ("magnitude", magnitude_prune)])
def test_a_merge_in_core_space_is_pefts_merge_of_the_cores(factors: Callable, merge: str, theirs: Callable) -> None:
    """numpy's singular bases of all columns and of all rows."""
    parts = [part.dense().numpy() for part in factors((3, 4))]
    left = np.linalg.svd(np.concatenate(parts, axis=1))[0][:, :7]
    right = np.linalg.svd(np.concatenate(parts, axis=0))[2][:7].T
    cores = [torch.from_numpy(left.T @ part @ right) for part in parts]
    expected = left @ theirs(cores, weights_tensor(2), 0.4).numpy() @ right.T
    made = in_core([torch.from_numpy(part) for part in parts], merge, 0.4)
    np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("merge", ["linear", "magnitude", "dare"])
def test_core_merges_that_drop_nothing_are_the_weighted_sum(factors: Callable, merge: str) -> None:
    parts = [part.dense() for part in factors((3, 4))]
    assert torch.allclose(in_core(parts, merge, 1.0), 0.8 * parts[0] - 0.5 * parts[1], rtol=0, atol=1e-11)


def test_dropping_in_core_space_keeps_the_expectation(factors: Callable) -> None:
    parts = [part.dense() for part in factors((2, 3), shape=(6, 7))]
    generator, draws = generator_for(0, "m"), 4000
    made = [core(parts, WEIGHTS, generator=generator, merge="dare", density=0.5) for _ in range(draws)]
    mean, spread = torch.stack(made).mean(dim=0), torch.stack(made).std(dim=0) / draws**0.5
    assert float(((mean - (0.8 * parts[0] - 0.5 * parts[1])) / spread).abs().max()) < 4.5
