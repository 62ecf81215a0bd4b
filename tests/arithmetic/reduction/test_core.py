"""The reduced factors are the best of their rank: Eckart and Young's tail, by a dense SVD that knows no factors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arithmetic.deltas import LowRank
from arithmetic.reduction import EnergyKept, ErrorAtMost, RankAtMost, reduce

sizes = st.integers(1, 24)
seeds = st.integers(0, 2**20)


def factors(m: int, n: int, rank: int, seed: int, kernel: int = 1, decay: float = 1.0) -> LowRank:
    """Random float32 factors whose directions fade by `decay` from one to the next."""
    generator = torch.Generator().manual_seed(seed)
    fading = decay ** torch.arange(rank, dtype=torch.float32)
    up = torch.randn(m, rank, generator=generator) * fading
    down = torch.randn(rank, n * kernel * kernel, generator=generator)
    if kernel > 1:
        return LowRank(up.reshape(m, rank, 1, 1), down.reshape(rank, n, kernel, kernel), 0.5)
    return LowRank(up, down, 0.5)


def relative_error(left: torch.Tensor, right: torch.Tensor) -> float:
    return ((left - right).norm() / right.norm()).item()


@given(sizes, sizes, sizes, sizes, seeds)
def test_the_error_is_the_tail_of_the_singular_values(m: int, n: int, rank: int, kept: int, seed: int) -> None:
    delta = factors(m, n, rank, seed)
    dense = delta.dense()
    sigma = np.linalg.svd(dense.numpy(), compute_uv=False)
    lowered, spectrum = reduce(delta, (RankAtMost(kept),))
    optimum = float(np.sqrt((sigma[kept:] ** 2).sum()) / np.linalg.norm(sigma))
    assert relative_error(lowered.dense(), dense) <= optimum * (1 + 1e-4) + 1e-12
    assert spectrum.error == pytest.approx(optimum, rel=1e-6, abs=1e-12)
    assert lowered.rank <= kept


@given(sizes, sizes, sizes, seeds)
def test_a_rank_that_holds_the_sum_loses_nothing(m: int, n: int, rank: int, seed: int) -> None:
    delta = factors(m, n, rank, seed)
    lowered, _ = reduce(delta, (RankAtMost(rank),))
    assert relative_error(lowered.dense(), delta.dense()) < 1e-12


@given(seeds)
def test_the_error_never_grows_with_the_rank(seed: int) -> None:
    delta = factors(12, 15, 10, seed, decay=0.7)
    errors = [reduce(delta, (RankAtMost(kept),))[1].error for kept in range(1, 12)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.9999, 1.0])
def test_energy_keeps_the_fewest_that_hold_the_share(share: float) -> None:
    delta = factors(20, 30, 16, 3, decay=0.8)
    squares = np.linalg.svd(delta.dense().numpy(), compute_uv=False)[:16] ** 2
    kept = reduce(delta, (EnergyKept(share),))[1].kept
    assert squares[:kept].sum() >= share * squares.sum() * (1 - 1e-12)
    assert kept == 1 or squares[: kept - 1].sum() < share * squares.sum()


@pytest.mark.parametrize("bound", [0.0, 1e-3, 0.05, 0.3, 0.9])
def test_error_keeps_the_fewest_that_stay_within_the_bound(bound: float) -> None:
    delta = factors(20, 30, 16, 4, decay=0.7)
    sigma = np.linalg.svd(delta.dense().numpy(), compute_uv=False)[:16]
    spectrum = reduce(delta, (ErrorAtMost(bound),))[1]
    assert spectrum.error <= bound + 1e-12
    kept = spectrum.kept
    assert kept == 1 or np.linalg.norm(sigma[kept - 1 :]) > bound * np.linalg.norm(sigma)


def test_rules_are_applied_in_the_order_written() -> None:
    delta = factors(20, 30, 16, 5, decay=0.9)
    first = reduce(delta, (RankAtMost(8), EnergyKept(0.95)))[1].kept
    second = reduce(delta, (EnergyKept(0.95), RankAtMost(8)))[1].kept
    assert first < second == 8


@given(seeds)
def test_another_gauge_gives_the_same_factors(seed: int) -> None:
    """(B G, G^-1 A) is the same delta, so signs and order are the delta's own."""
    delta = factors(9, 11, 4, seed, decay=0.5)
    gauge = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    turned = LowRank(delta.up.double() @ gauge, gauge.T @ delta.down.double(), delta.scale)
    one, other = (reduce(each, (RankAtMost(3),))[0] for each in (delta, turned))
    torch.testing.assert_close(one.up, other.up, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(one.down, other.down, rtol=1e-7, atol=1e-9)


def test_kernels_keep_their_shape() -> None:
    delta = factors(8, 4, 6, 0, kernel=3)
    lowered, _ = reduce(delta, (RankAtMost(2),))
    assert lowered.up.shape == (8, 2, 1, 1)
    assert lowered.down.shape == (2, 4, 3, 3)


def test_nothing_is_clamped_where_one_direction_towers() -> None:
    """Clipping at the 0.99 quantile, as the common scripts do, would take the leading direction's energy."""
    delta = factors(64, 64, 8, 1, decay=0.1)
    lowered, _ = reduce(delta, (RankAtMost(8),))
    assert relative_error(lowered.dense(), delta.dense()) < 1e-12


def test_a_delta_of_zeros_keeps_one_direction_of_zeros() -> None:
    lowered, spectrum = reduce(LowRank(torch.zeros(4, 3), torch.zeros(3, 5), 1.0), (RankAtMost(2),))
    assert (lowered.rank, spectrum.error) == (1, 0.0)
    assert lowered.dense().abs().max() == 0
