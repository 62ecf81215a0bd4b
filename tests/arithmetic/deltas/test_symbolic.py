"""Laws of the symbolic deltas, against the formulas in numpy: every form is the same matrix."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from arithmetic.deltas import Delta, Dense, Factored, Hadamard, Kronecker, LowRank, Tucker

KERNELS = st.sampled_from([(), (1, 1), (3, 3)])
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])
SIZES = st.integers(1, 7)
RANKS = st.integers(1, 4)


class Drawn:
    """Random tensors of one dtype, and their numpy twins in float64."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def tensor(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def factored(self, out: int, inside: int, rank: int, kernel: tuple[int, ...], *, has_core: bool) -> Factored:
        if has_core and kernel:
            return Factored(self.tensor(out, rank), self.tensor(rank, inside), self.tensor(rank, rank, *kernel))
        return Factored(self.tensor(out, rank), self.tensor(rank, inside, *kernel))


def plain(tensor: Tensor) -> np.ndarray:
    return tensor.to(torch.float64).numpy()


def formula(side: Tensor | Factored) -> np.ndarray:
    """The weight (m, n[, k, k]) that a side stands for."""
    if isinstance(side, Tensor):
        return plain(side)
    left, right = plain(side.left), plain(side.right)
    if side.core is None:
        return np.tensordot(left, right, axes=1)
    return np.einsum("pqhw,op,qi->oihw", plain(side.core), left, right)


def kron(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """w1 (a, b) and w2 (c, d[, k, k]): rows and columns interleaved, the kernel carried along."""
    product = np.einsum("ab,cd...->acbd...", first, second)
    return product.reshape(first.shape[0] * second.shape[0], first.shape[1] * second.shape[1], *second.shape[2:])


def assert_lawful(delta: Delta, expected: np.ndarray) -> None:
    """dense, apply and the low-rank form are all the formula's matrix; the rank is honest about both."""
    matrix = expected.reshape(expected.shape[0], -1)
    scale = max(float(np.abs(matrix).max()), 1e-6)
    np.testing.assert_allclose(delta.dense().numpy(), matrix, rtol=0, atol=1e-12 * scale)
    probes = torch.randn(matrix.shape[1], 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    np.testing.assert_allclose(delta.apply(probes).numpy(), matrix @ probes.numpy(), rtol=0, atol=1e-10 * scale)
    factors = delta.low_rank()
    assert (factors is None) == (delta.rank is None)
    if factors is not None:
        assert factors.rank == delta.rank
        ones = tuple(1 for _ in expected.shape[2:])
        assert tuple(factors.up.shape) == (expected.shape[0], factors.rank, *ones)
        assert tuple(factors.down.shape) == (factors.rank, *expected.shape[1:])
        np.testing.assert_allclose(factors.dense().numpy(), matrix, rtol=0, atol=1e-12 * scale)


@given(SIZES, SIZES, RANKS, KERNELS, DTYPES, st.integers(0, 99))
def test_a_tucker_delta_is_its_contraction(
    out: int, inside: int, rank: int, kernel: tuple[int, ...], dtype: torch.dtype, seed: int
) -> None:
    factors = Drawn(seed, dtype).factored(out, inside, rank, kernel or (1, 1), has_core=True)
    expected = formula(factors) * 0.75
    delta = Tucker(factors, 0.75, expected.shape)
    assert_lawful(delta, expected)
    assert delta.rank == (rank if rank < min(out, expected[0].size) else None)


@given(SIZES, SIZES, RANKS, RANKS, KERNELS, DTYPES, st.booleans(), st.integers(0, 99))
def test_a_hadamard_delta_is_the_product_entry_by_entry(
    out: int, inside: int, first: int, second: int, kernel: tuple, dtype: torch.dtype, has_core: bool, seed: int
) -> None:
    drawn = Drawn(seed, dtype)
    one, other = (drawn.factored(out, inside, rank, kernel, has_core=has_core) for rank in (first, second))
    expected = formula(one) * formula(other) * -1.5
    delta = Hadamard(one, other, -1.5, expected.shape)
    assert_lawful(delta, expected)
    assert delta.rank == (first * second if first * second < min(out, expected[0].size) else None)


@given(st.data(), KERNELS, DTYPES, st.integers(0, 99))
def test_a_kronecker_delta_is_its_product_in_every_mix(
    data: st.DataObject, kernel: tuple[int, ...], dtype: torch.dtype, seed: int
) -> None:
    a, b, c, d = (data.draw(SIZES) for _ in range(4))
    ranks = data.draw(RANKS), data.draw(RANKS)
    drawn = Drawn(seed, dtype)
    first = drawn.tensor(a, b) if data.draw(st.booleans()) else drawn.factored(a, b, ranks[0], (), has_core=False)
    whole, has_core = data.draw(st.booleans()), data.draw(st.booleans())
    second = drawn.tensor(c, d, *kernel) if whole else drawn.factored(c, d, ranks[1], kernel, has_core=has_core)
    expected = kron(formula(first), formula(second)) * 2.0
    delta = Kronecker(first, second, 2.0, expected.shape)
    assert_lawful(delta, expected)
    inner = formula(second)[0].size
    least = min(a, b, ranks[0] if isinstance(first, Factored) else a) * min(
        c, inner, ranks[1] if isinstance(second, Factored) else c
    )
    assert delta.rank == (least if least < min(a * c, b * inner) else None)


@given(SIZES, SIZES, KERNELS, DTYPES, st.integers(0, 99))
def test_a_matrix_has_no_factors_and_is_itself(
    out: int, inside: int, kernel: tuple[int, ...], dtype: torch.dtype, seed: int
) -> None:
    weight = Drawn(seed, dtype).tensor(out, inside, *kernel)
    assert_lawful(Dense(weight.flatten(1), 3.0), plain(weight) * 3.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_lossless_form_loses_not_a_bit_of_its_products(dtype: torch.dtype) -> None:
    """Products of two float32 numbers fit float64: the Khatri-Rao and Kronecker factors are exact."""
    drawn = Drawn(0, dtype)
    one, other = (drawn.factored(9, 9, 2, (), has_core=False) for _ in range(2))
    factors = Hadamard(one, other, 1.0, (9, 9)).low_rank()
    assert factors is not None
    exact = plain(one.left)[:, 1] * plain(other.left)[:, 0]
    assert np.array_equal(factors.up[:, 2].numpy(), exact)
    wide = Kronecker(drawn.tensor(2, 2), drawn.factored(5, 5, 1, (), has_core=False), 1.0, (10, 10))
    kept = wide.low_rank()
    assert kept is not None
    np.testing.assert_array_equal(kept.dense().numpy(), wide.dense().numpy())


def test_a_low_rank_delta_is_its_own_low_rank_form() -> None:
    delta = LowRank(torch.ones(4, 1), torch.ones(1, 3), 2.0)
    assert delta.low_rank() is delta


@pytest.mark.parametrize(
    "make",
    [
        lambda t: Kronecker(t(40, 40), Factored(t(32, 2), t(2, 32)), 1.0, (1280, 1280)),
        lambda t: Hadamard(Factored(t(1280, 4), t(4, 1280)), Factored(t(1280, 4), t(4, 1280)), 1.0, (1280, 1280)),
    ],
)
def test_probing_a_wide_layer_makes_no_matrix_of_its_size(make: Callable[..., Delta]) -> None:
    delta = make(lambda *shape: torch.ones(shape))
    with torch.profiler.profile(profile_memory=True) as profile:
        delta.apply(torch.ones(1280, 2, dtype=torch.float64))
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest < 1280 * 1280 * 8 / 10
