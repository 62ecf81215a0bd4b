"""DELLA: probabilities, expectation, and how each tool rescales and elects."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from arithmetic import MethodRefused
from arithmetic.methods import dare, della
from arithmetic.methods.consensus import elected_by_count, elected_by_weighted_sum, summed
from arithmetic.methods.della import keep_probabilities
from arithmetic.methods.sparsity import rescaled_to
from arithmetic.randomness import generator_for

MIXED = (0.7, -0.5, 0.3)


def sampled(deltas: list[Tensor], weights: tuple[float, ...], seed: int = 0, **options: object) -> Tensor:
    chosen = {"density": 0.5, "epsilon": 0.15} | options
    return della(deltas, weights, generator=generator_for(seed, "module"), **chosen)


@pytest.mark.parametrize("dialect", ["mergekit", "mecha"])
def test_entries_were_kept_as_often_as_the_probabilities_say(
    golden: dict[str, Tensor], drawn: list[Tensor], dialect: str
) -> None:
    probabilities = keep_probabilities(drawn[0], 0.5, 0.15, dialect)
    spread = (probabilities * (1 - probabilities) / 4000).sqrt()
    assert float(((golden[f"{dialect}.della.frequency"] - probabilities) / spread).abs().max()) < 4.5


def test_probabilities_rise_with_the_magnitude_in_each_row() -> None:
    row = torch.tensor([[0.5, -3.0, 1.0], [9.0, 8.0, -7.0]], dtype=torch.float64)
    expected = torch.tensor([[0.4, 0.6, 0.5], [0.6, 0.5, 0.4]], dtype=torch.float64)
    assert torch.allclose(keep_probabilities(row, 0.5, 0.1, "paper"), expected)


def test_the_expectation_is_the_weighted_sum_in_the_papers_dialect_alone(deltas: Callable) -> None:
    drawn, weights, draws = deltas(2), (0.7, -0.4), 3000
    truth = summed(drawn, weights)
    variance = sum(
        (w * delta).square() * (1 - p) / p
        for w, delta in zip(weights, drawn, strict=True)
        for p in (keep_probabilities(delta, 0.4, 0.3, "paper"),)
    )
    distances = {}
    for dialect in ("paper", "mecha", "mergekit"):
        generator = generator_for(0, "module")
        options = {"density": 0.4, "epsilon": 0.3, "dialect": dialect, "consensus": "linear"}
        mean = sum(della(drawn, weights, generator=generator, **options) for _ in range(draws)) / draws
        distances[dialect] = float(((mean - truth).abs() / (variance / draws).sqrt()).max())
    assert distances["paper"] < 5
    assert min(distances["mecha"], distances["mergekit"]) > 10


def test_mergekit_rescaled_and_elected_the_same_given_what_it_dropped(
    golden: dict[str, Tensor], drawn: list[Tensor]
) -> None:
    sparse = [golden[f"mergekit.della.sparse.{i}"] for i in range(3)]
    for delta, theirs in zip(drawn, sparse, strict=True):
        assert torch.allclose(rescaled_to(delta * (theirs != 0), delta), theirs, rtol=1e-6, atol=1e-8)
    assert torch.allclose(summed(sparse, MIXED), golden["mergekit.della.linear"], rtol=1e-5, atol=1e-8)
    ours = elected_by_weighted_sum(sparse, MIXED, is_normalized=True)
    assert torch.allclose(ours, golden["mergekit.della.ties"], rtol=1e-5, atol=1e-8)


def test_mecha_elected_the_same_given_what_it_dropped(golden: dict[str, Tensor], drawn: list[Tensor]) -> None:
    sparse = [delta * golden[f"mecha.della.mask.{i}"] / 0.5 for i, delta in enumerate(drawn)]
    assert torch.allclose(elected_by_count(sparse, MIXED), golden["mecha.della.ties"], rtol=1e-5, atol=1e-8)


def test_what_stays_is_rescaled_as_the_dialect_says(deltas: Callable) -> None:
    (one,) = deltas(1)
    made = {name: sampled([one], (1.0,), dialect=name) for name in ("paper", "mergekit", "mecha")}
    paper = keep_probabilities(one, 0.5, 0.15, "paper")
    assert torch.allclose(made["paper"], torch.where(made["paper"] != 0, one / paper, 0.0))
    assert torch.allclose(made["mecha"], torch.where(made["mecha"] != 0, one / 0.5, 0.0))
    assert torch.allclose(made["mergekit"], rescaled_to(torch.where(made["mergekit"] != 0, one, 0.0), one))


@pytest.mark.parametrize("dialect", ["paper", "mergekit", "mecha"])
def test_density_one_is_the_weighted_sum(deltas: Callable, dialect: str) -> None:
    drawn = deltas(3)
    made = sampled(drawn, MIXED, density=1.0, dialect=dialect, consensus="linear")
    assert torch.allclose(made, summed(drawn, MIXED), rtol=0, atol=1e-14)


def test_a_window_of_no_width_is_dare(deltas: Callable) -> None:
    drawn = deltas(2)
    made = sampled(drawn, (1.0, 0.5), epsilon=0.0, consensus="linear")
    assert torch.allclose(made, dare(drawn, (1.0, 0.5), generator=generator_for(0, "module"), density=0.5))


def test_a_bias_counts_as_one_row() -> None:
    bias = torch.tensor([[4.0], [1.0], [2.0]], dtype=torch.float64)
    assert torch.allclose(keep_probabilities(bias, 0.5, 0.2, "paper").flatten(), torch.tensor([0.7, 0.3, 0.5]).double())


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.15), (0.9, 0.1), (0.15, 0.15)])
def test_a_window_that_leaves_the_unit_interval_is_refused(deltas: Callable, density: float, epsilon: float) -> None:
    with pytest.raises(MethodRefused, match=r"Use an epsilon below 0\.1"):
        sampled(deltas(1), (1.0,), density=density, epsilon=epsilon)
