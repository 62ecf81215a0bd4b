"""Pruning by magnitude: against PEFT, and its laws."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils.merge_utils import magnitude_prune

from arithmetic.methods import magnitude


@pytest.mark.parametrize("density", [0.1, 0.29, 0.5, 0.9])
@pytest.mark.parametrize("weights", [(1.0, 0.8), (-0.5, 2.0)])
def test_peft_prunes_the_same_entries(deltas: Callable, density: float, weights: tuple[float, float]) -> None:
    drawn = deltas(2)
    theirs = magnitude_prune(drawn, torch.tensor(weights, dtype=torch.float64), density)
    assert torch.allclose(magnitude(drawn, weights, density=density), theirs, rtol=0, atol=1e-12)


@given(st.floats(0.001, 1), st.integers(1, 60))
def test_exactly_the_stated_share_stays_however_many_magnitudes_are_equal(density: float, columns: int) -> None:
    signs = torch.ones(3, columns, dtype=torch.float64)
    signs[:, ::2] = -1
    kept = magnitude([signs], [1.0], density=density)
    assert int((kept != 0).sum()) == max(1, int(density * signs.numel()))


def test_of_equal_magnitudes_the_first_stay() -> None:
    drawn = torch.tensor([[1.0, -3.0, 2.0], [2.0, -2.0, 2.0]], dtype=torch.float64)
    assert magnitude([drawn], [1.0], density=0.5).tolist() == [[0.0, -3.0, 2.0], [2.0, 0.0, 0.0]]


def test_density_one_is_the_weighted_sum(deltas: Callable) -> None:
    one, two = deltas(2)
    assert torch.equal(magnitude([one, two], [0.7, -0.2], density=1.0), 0.7 * one - 0.2 * two)


@given(st.floats(-4, 4), st.floats(0.01, 1))
def test_scaling_the_weights_scales_the_result(deltas: Callable, factor: float, density: float) -> None:
    drawn = deltas(2)
    scaled = magnitude(drawn, [factor * 0.7, factor * -0.2], density=density)
    assert torch.allclose(scaled, factor * magnitude(drawn, [0.7, -0.2], density=density), rtol=0, atol=1e-12)
