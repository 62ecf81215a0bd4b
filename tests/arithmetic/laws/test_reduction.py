"""Law 10: lower ranks through files, against the singular values of the dense sum in numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from arithmetic import Vector
from formats import Layout

few = settings(max_examples=8)
seeds = st.integers(0, 10)
weights = st.decimals(-3, 3, places=2).filter(bool)
Deltas = dict[str, np.ndarray]
Vectors = Callable[[int], Vector]
FINE = 2e-6


def dense_sum(workshop: Any, *terms: tuple[float, Vector]) -> Deltas:
    """By the oracle."""
    total: Deltas = {}
    for weight, vector in terms:
        for module, delta in workshop.read(vector.path).items():
            total[module] = total.get(module, 0.0) + weight * delta
    return total


def best(delta: np.ndarray, rank: int) -> np.ndarray:
    """The nearest matrix of that rank (Eckart and Young 1936)."""
    u, sigma, vt = np.linalg.svd(delta, full_matrices=False)
    return (u[:, :rank] * sigma[:rank]) @ vt[:rank]


def error(out: np.ndarray, exact: np.ndarray) -> float:
    """Relative, in the Frobenius norm."""
    return float(np.linalg.norm(out - exact) / np.linalg.norm(exact))


@few
@given(seeds, weights, st.sampled_from([Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT]))
def test_every_rank_leaves_the_tail_of_the_singular_values_and_enough_of_them_nothing(
    workshop: Any, vectors: Vectors, seed: int, x: float, layout: Layout
) -> None:
    """Law 10."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1)}
    exact = dense_sum(workshop, (float(x), opened["a"]), (1.0, opened["b"]))
    before = dict.fromkeys(exact, np.inf)
    for rank in (1, 2, 4, 12):
        found = workshop.deltas(f"{x}*a + b | rank({rank})", layout, **opened)
        assert found.keys() == exact.keys()
        for module, delta in exact.items():
            least, got = error(best(delta, rank), delta), error(found[module], delta)
            assert least - FINE <= got <= least * (1 + 1e-4) + FINE
            assert got <= before[module] + FINE
            before[module] = got
    assert max(before.values()) < FINE


@few
@given(seeds, weights, st.integers(1, 4))
def test_a_group_is_reduced_before_it_is_added(
    workshop: Any, vectors: Vectors, worst_error: Callable, seed: int, x: float, rank: int
) -> None:
    """Law 10."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1), "c": vectors(seed + 2)}
    inner = dense_sum(workshop, (float(x), opened["a"]), (1.0, opened["b"]))
    found = workshop.deltas(f"0.7*({x}*a + b | rank({rank})) - c", **opened)
    reduced = {module: best(delta, rank) for module, delta in inner.items()}
    assert worst_error(found, [(0.7, reduced), (-1.0, workshop.read(opened["c"].path))]) < FINE


@few
@given(seeds, st.floats(0.3, 0.999))
def test_the_energy_stage_keeps_the_fewest_directions_that_hold_the_share(
    workshop: Any, vectors: Vectors, read_ranks: Callable, seed: int, share: float
) -> None:
    """Law 10."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1)}
    exact = dense_sum(workshop, (1.0, opened["a"]), (1.0, opened["b"]))
    path = workshop.composed(f"a + b | energy({share})", Layout.DIFFUSERS, **opened)
    found, ranks = workshop.read(path), read_ranks(path)
    for module, delta in exact.items():
        energy = np.cumsum(np.linalg.svd(delta, compute_uv=False) ** 2)
        assert ranks[module] == int(np.searchsorted(energy, share * energy[-1])) + 1
        assert 1 - error(found[module], delta) ** 2 >= share - FINE


@few
@given(seeds, st.floats(0.01, 0.7))
def test_the_error_stage_keeps_the_fewest_directions_that_stay_within_the_bound(
    workshop: Any, vectors: Vectors, read_ranks: Callable, seed: int, bound: float
) -> None:
    """Law 10."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1)}
    exact = dense_sum(workshop, (1.0, opened["a"]), (1.0, opened["b"]))
    path = workshop.composed(f"a + b | error({bound})", **opened)
    found, ranks = workshop.read(path), read_ranks(path)
    for module, delta in exact.items():
        assert error(found[module], delta) <= bound + FINE
        assert ranks[module] == 1 or error(best(delta, ranks[module] - 1), delta) > bound


@few
@given(seeds)
def test_stages_are_taken_in_the_order_written(
    workshop: Any, vectors: Vectors, read_ranks: Callable, seed: int
) -> None:
    """Law 10. rank(3) first leaves less for the share of energy to be of."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1)}
    exact = dense_sum(workshop, (1.0, opened["a"]), (1.0, opened["b"]))
    path = workshop.composed("a + b | rank(3) | energy(0.9)", **opened)
    ranks = read_ranks(path)
    for module, delta in exact.items():
        energy = np.cumsum(np.linalg.svd(delta, compute_uv=False)[:3] ** 2)
        assert ranks[module] == int(np.searchsorted(energy, 0.9 * energy[-1])) + 1
