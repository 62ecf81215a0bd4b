"""Laws 8, 9, 13 and 18: what a vector is does not depend on how its factors, alphas and keys are written.

On plans, without a file, laws 8 and 9 are in tests/arithmetic/sources/test_combination.py, law 13 of factors in
test_conversion.py, law 18 of every kind in test_measures.py.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arithmetic import Vector, convert, measure, open_vector
from formats import Layout

LAYOUTS = (Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT, Layout.KOHYA_SGM, Layout.COMFY)
BOUND = 1e-6

few = settings(max_examples=10)


def turned(drawn: Any, seed: int, is_permuted: bool) -> Any:
    """(B, A) -> (B G, G^-1 A), G a permutation or a rotation with powers of two."""
    generator, factors = torch.Generator().manual_seed(seed), {}
    for module, (up, down, alpha) in drawn.factors.items():
        rank = down.shape[0]
        gauge = torch.linalg.qr(torch.randn(rank, rank, generator=generator, dtype=torch.float64))[0]
        gauge = gauge * torch.exp2(torch.randint(-3, 4, (rank,), generator=generator).double())
        if is_permuted:
            gauge = torch.eye(rank, dtype=torch.float64)[torch.randperm(rank, generator=generator)]
        other_up = torch.einsum("mr...,rs->ms...", up.double(), gauge).float()
        other_down = torch.einsum("rs,s...->r...", torch.linalg.inv(gauge), down.double()).float()
        factors[module] = (other_up, other_down, alpha)
    return type(drawn)(factors)


@few
@given(st.integers(0, 2**16), st.booleans(), st.sampled_from(LAYOUTS))
def test_another_gauge_of_the_factors_gives_the_file_of_the_same_sum(
    workshop: Any, worst_error: Callable, seed: int, is_permuted: bool, layout: Layout
) -> None:
    """Law 8. It is what sums in factor space break."""
    drawn, other = workshop.draft(seed), workshop.draft(seed + 1, ranks=(2, 5))
    a, b = workshop.opened(turned(drawn, seed, is_permuted), layout), workshop.opened(other)
    terms = [(0.8, drawn.deltas()), (-1.2, other.deltas())]
    assert worst_error(workshop.deltas("0.8*a - 1.2*b", layout, a=a, b=b), terms) < BOUND


@few
@given(st.integers(0, 2**16))
def test_another_gauge_gives_the_same_reduced_file_and_the_same_methods(
    workshop: Any, worst_error: Callable, seed: int
) -> None:
    """Law 8."""
    drawn = workshop.draft(seed)
    opened = {"b": workshop.opened(workshop.draft(seed + 1))}
    for text in ("0.8*a + b | rank(2)", "ties(0.8*a, b; density=0.4) | rank(99)", "iso(a, b)", "tsv(a, b)"):
        before = workshop.deltas(text, a=workshop.opened(drawn), **opened)
        after = workshop.deltas(text, a=workshop.opened(turned(drawn, seed, False)), **opened)
        assert worst_error(after, [(1.0, before)]) < 1e-4


@few
@given(st.integers(0, 2**16), st.sampled_from([0.125, 0.3, 4.0, 77.0, -1.0]), st.sampled_from(LAYOUTS))
def test_scale_moved_between_alpha_and_a_factor_gives_the_file_of_the_same_sum(
    workshop: Any, worst_error: Callable, seed: int, c: float, layout: Layout
) -> None:
    """Law 9."""
    drawn = workshop.draft(seed)
    moved = {m: (up, (down.double() / c).float(), alpha * c) for m, (up, down, alpha) in drawn.factors.items()}
    a = workshop.opened(type(drawn)(moved), layout)
    assert worst_error(workshop.deltas("-0.6*a", layout, a=a), [(-0.6, drawn.deltas())]) < BOUND


@pytest.mark.parametrize(("first", "second"), list(itertools.product(LAYOUTS, LAYOUTS)))
def test_a_round_trip_over_two_layouts_keeps_every_bit_of_every_delta(
    first: Layout, second: Layout, workshop: Any
) -> None:
    """Law 13, ranks and alphas mixed, by the oracle: what an alpha is written as does not move a bit either."""
    source = workshop.opened(workshop.draft(5))
    before = workshop.read(source.path)
    there = convert(source, workshop.place(), first, {})
    back = convert(open_vector(there, workshop.table), workshop.place(), second, {})
    for path in (there, back):
        after = workshop.read(path)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[module], after[module]) for module in before)


@few
@given(st.integers(0, 10))
def test_the_norm_by_gram_traces_is_that_of_the_dense_deltas_of_the_file(
    workshop: Any, vectors: Callable[[int], Vector], seed: int
) -> None:
    """Law 18, of inputs, of a sum, and of what a recipe reduced."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1)}
    paths = [opened["a"].path, *(workshop.composed(t, **opened) for t in ("a - 0.9*b", "a - 0.9*b | rank(2)"))]
    for path in paths:
        measured = measure(open_vector(path, workshop.table)).modules
        for module, delta in workshop.read(path).items():
            assert measured[module].norm == pytest.approx(np.linalg.norm(delta), rel=1e-6)
