"""Core Space loses nothing, and every method that works in it gives what it gives on the matrices themselves."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from arithmetic import LowRank
from arithmetic.methods import METHODS, Method, Space, core_space, merged

CORE = [method for method in METHODS.values() if method.space is Space.CORE]
OPTIONS = {
    "project": ({"k": 1}, {"k": 3}),
    "core": tuple({"merge": m} for m in ("ties", "dare", "magnitude", "linear")),
}
CASES = [(method, options) for method in CORE for options in OPTIONS.get(method.name, ({},))]
NAMES = [" ".join([method.name, *(f"{k}={v}" for k, v in options.items())]) for method, options in CASES]
WEIGHTS = (0.8, -0.5, 1.3)


def turned(part: LowRank, seed: int) -> LowRank:
    """The same delta by other factors: (B G, G^-1 A)."""
    gauge = torch.randn(part.rank, part.rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gauge += 3 * torch.eye(part.rank, dtype=torch.float64)
    up, down = part.up.double().flatten(1), part.down.double().flatten(1)
    return LowRank(up @ gauge, torch.linalg.solve(gauge, down), part.scale)


def in_core(method: Method, parts: Sequence[LowRank], options: dict) -> Tensor:
    space = core_space(parts)
    made = merged(method, space.cores, WEIGHTS[: len(parts)], module="m", options=options)
    return space.lifted(made).dense()


def on_matrices(method: Method, parts: Sequence[LowRank], options: dict) -> Tensor:
    return merged(method, [part.dense() for part in parts], WEIGHTS[: len(parts)], module="m", options=options)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.sampled_from([(20, 30), (6, 25), (12, 3, 3, 3), (9, 5)]))
def test_every_delta_is_its_core_between_the_bases(factors: Callable, ranks: list[int], shape: tuple[int, ...]) -> None:
    parts = factors(ranks, shape=shape)
    space = core_space(parts)
    for part, core in zip(parts, space.cores, strict=True):
        assert torch.allclose(space.lifted(core).dense(), part.dense(), rtol=0, atol=1e-12 * float(part.dense().norm()))
    for basis in (space.left, space.right):
        assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64), rtol=0, atol=1e-12)
    assert space.lifted(space.cores[0]).rank <= sum(ranks)


def test_norms_and_inner_products_are_those_of_the_cores(factors: Callable) -> None:
    parts = factors((3, 5))
    one, two = core_space(parts).cores
    assert float((one * two).sum()) == pytest.approx(float((parts[0].dense() * parts[1].dense()).sum()), rel=1e-12)


@pytest.mark.parametrize(("method", "options"), CASES, ids=NAMES)
@pytest.mark.parametrize("shape", [(20, 30), (16, 4, 3, 3), (7, 30)])
def test_a_core_method_gives_the_same_on_cores_and_on_matrices(
    factors: Callable, method: Method, options: dict, shape: tuple[int, ...]
) -> None:
    parts = factors((3, 5), shape=shape)
    expected = on_matrices(method, parts, options)
    assert float(expected.norm()) > 0
    assert torch.allclose(in_core(method, parts, options), expected, rtol=0, atol=1e-9 * float(expected.norm()))


@pytest.mark.parametrize(("method", "options"), CASES, ids=NAMES)
def test_a_core_method_turns_with_its_inputs(factors: Callable, method: Method, options: dict) -> None:
    """f(U M V^T) = U f(M) V^T for orthonormal U (m, p) and V (N, q)."""
    parts = factors((4, 2), shape=(9, 8))
    generator = torch.Generator().manual_seed(3)
    left, right = (
        torch.linalg.qr(torch.randn(tall, wide, generator=generator, dtype=torch.float64)).Q
        for tall, wide in ((14, 9), (11, 8))
    )
    moved = [left @ part.dense() @ right.T for part in parts]
    made = merged(method, moved, WEIGHTS[:2], module="m", options=options)
    expected = left @ on_matrices(method, parts, options) @ right.T
    assert torch.allclose(made, expected, rtol=0, atol=1e-9 * float(expected.norm()))


@pytest.mark.parametrize(("method", "options"), CASES, ids=NAMES)
def test_other_factors_of_the_same_deltas_change_nothing(factors: Callable, method: Method, options: dict) -> None:
    parts = factors((4, 2))
    again = [turned(part, seed) for seed, part in enumerate(parts)]
    expected = in_core(method, parts, options)
    assert torch.allclose(in_core(method, again, options), expected, rtol=0, atol=1e-9 * float(expected.norm()))


@pytest.mark.parametrize(("method", "options"), CASES, ids=NAMES)
def test_the_rank_stays_within_the_sum_of_the_ranks(factors: Callable, method: Method, options: dict) -> None:
    made = on_matrices(method, factors((3, 4), shape=(20, 30)), options)
    assert int(torch.linalg.matrix_rank(made)) <= 7


@pytest.mark.parametrize(("method", "options"), CASES, ids=NAMES)
def test_twice_the_weights_are_twice_the_result(factors: Callable, method: Method, options: dict) -> None:
    parts = [part.dense() for part in factors((3, 4))]
    one, two = (merged(method, parts, [f * 0.8, f * 0.5], module="m", options=options) for f in (1, 2))
    assert torch.allclose(two, 2 * one, rtol=0, atol=1e-10 * float(one.norm()))


@pytest.mark.parametrize(("method", "options"), CASES, ids=NAMES)
def test_nothing_merged_is_nothing(method: Method, options: dict) -> None:
    zeros = [torch.zeros(4, 6, dtype=torch.float64) for _ in range(2)]
    assert torch.equal(merged(method, zeros, [1.0, 1.0], module="m", options=options), zeros[0])
