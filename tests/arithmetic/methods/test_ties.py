"""Three meanings of TIES, each against its own tool, and what they have in common."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils.merge_utils import ties as ties_of_peft
from torch import Tensor

from arithmetic.methods import magnitude, ties

DIALECTS = ("peft", "mergekit", "mecha")
GOLDEN_WEIGHTS = {"plain": (2.0, 1.0, 1.0), "scaled": (10.0, 5.0, 5.0), "mixed": (0.7, -0.5, 0.3)}


@pytest.mark.parametrize("density", [0.2, 0.55, 0.99])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.3), (0.8, -0.5, 1.0)])
def test_peft_elects_and_averages_the_same(deltas: Callable, density: float, weights: tuple[float, ...]) -> None:
    drawn = deltas(3)
    theirs = ties_of_peft(drawn, torch.tensor(weights, dtype=torch.float64), density)
    assert torch.allclose(ties(drawn, weights, density=density), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", GOLDEN_WEIGHTS)
@pytest.mark.parametrize("density", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("dialect", ["mergekit", "mecha"])
def test_mergekit_and_mecha_made_the_same(
    golden: dict[str, Tensor], drawn: list[Tensor], dialect: str, density: float, name: str
) -> None:
    ours = ties(drawn, GOLDEN_WEIGHTS[name], density=density, dialect=dialect)
    assert torch.allclose(
        ours, golden[f"{dialect}.ties.{name}.{density}"], rtol=1e-5, atol=1e-6 * float(ours.abs().max())
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_dialects_differ_on_ordinary_deltas(deltas: Callable, dialect: str) -> None:
    drawn = deltas(3)
    results = {name: ties(drawn, (0.7, -0.5, 0.3), density=0.5, dialect=name) for name in DIALECTS}
    others = [results[name] for name in DIALECTS if name != dialect]
    assert all(not torch.allclose(results[dialect], other) for other in others)


@given(st.integers(1, 5), st.floats(0.05, 1))
@pytest.mark.parametrize("dialect", ["peft", "mergekit"])
def test_identical_inputs_are_the_pruned_input(deltas: Callable, dialect: str, count: int, density: float) -> None:
    (one,) = deltas(1)
    expected = magnitude([one], [1.0], density=density)
    assert torch.allclose(ties([one] * count, [1.0] * count, density=density, dialect=dialect), expected)


def test_identical_inputs_are_the_trimmed_input_in_mecha_which_keeps_one_more(deltas: Callable) -> None:
    (one,) = deltas(1)
    merged = ties([one] * 3, [1.0] * 3, density=0.5, dialect="mecha")
    assert int((merged != 0).sum()) == one.numel() // 2 + 1
    assert torch.allclose(merged[merged != 0], one[merged != 0])


@pytest.mark.parametrize(("dialect", "ratio"), [("peft", 5.0), ("mergekit", 1.0), ("mecha", 5.0)])
def test_five_times_the_weights_are_five_times_the_result_except_where_weights_are_divided_out(
    deltas: Callable, dialect: str, ratio: float
) -> None:
    drawn = deltas(2)
    one = ties(drawn, (2.0, 1.0), density=0.4, dialect=dialect)
    five = ties(drawn, (10.0, 5.0), density=0.4, dialect=dialect)
    assert torch.allclose(five, ratio * one, rtol=1e-12, atol=0)


def test_mecha_drops_what_two_deltas_disagree_on_and_the_others_follow_the_larger() -> None:
    one, two = torch.tensor([[3.0, 1.0]]).double(), torch.tensor([[-1.0, 2.0]]).double()
    assert ties([one, two], (1, 1), density=1.0, dialect="mecha").tolist() == [[0.0, 1.5]]
    assert ties([one, two], (1, 1), density=1.0, dialect="peft").tolist() == [[3.0, 1.5]]
    assert ties([one, two], (1, 1), density=1.0, dialect="mergekit").tolist() == [[3.0, 1.5]]


def test_a_negative_weight_votes_as_negative_except_in_peft() -> None:
    one, two = torch.tensor([[3.0]]).double(), torch.tensor([[2.0]]).double()
    assert ties([one, two], (1.0, -1.0), density=1.0, dialect="peft").tolist() == [[0.5]]
    assert ties([one, two], (1.0, -1.0), density=1.0, dialect="mergekit").tolist() == [[3.0]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_inputs_are_left_as_they_were(deltas: Callable, dialect: str) -> None:
    drawn = deltas(2)
    before = [delta.clone() for delta in drawn]
    ties(drawn, (1.0, -0.5), density=0.5, dialect=dialect)
    assert all(torch.equal(left, right) for left, right in zip(before, drawn, strict=True))
