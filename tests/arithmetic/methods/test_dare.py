"""DARE: its expectation, what it keeps, and how each tool rescales."""

from collections.abc import Callable

import pytest
import torch
from peft.utils.merge_utils import dare_ties, prune
from torch import Tensor

from arithmetic.methods import dare
from arithmetic.methods.consensus import elected_by_sum, elected_by_weighted_sum, summed
from arithmetic.methods.sparsity import rescaled_to
from arithmetic.randomness import generator_for

MIXED = (0.7, -0.5, 0.3)


def test_the_expectation_is_the_weighted_sum(deltas: Callable) -> None:
    drawn, weights, density, draws = deltas(2), (0.7, -0.4), 0.3, 3000
    generator = generator_for(0, "module")
    made = sum(dare(drawn, weights, generator=generator, density=density) for _ in range(draws))
    variance = sum((w * delta).square() for w, delta in zip(weights, drawn, strict=True)) * (1 - density) / density
    distance = (made / draws - summed(drawn, weights)).abs() / (variance / draws).sqrt()
    assert float(distance.max()) < 5


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_the_share_that_stays_is_the_density(density: float) -> None:
    ones = torch.ones(200, 300, dtype=torch.float64)
    kept = (dare([ones], [1.0], generator=generator_for(1, "module"), density=density) != 0).double().mean()
    assert abs(float(kept) - density) < 5 * (density * (1 - density) / ones.numel()) ** 0.5


def test_what_stays_is_divided_by_the_density(deltas: Callable) -> None:
    (one,) = deltas(1)
    made = dare([one], [1.0], generator=generator_for(1, "module"), density=0.4)
    assert torch.allclose(made, torch.where(made != 0, one / 0.4, 0.0), rtol=1e-15)


def test_in_mergekits_dialect_the_l1_norm_stays(deltas: Callable) -> None:
    (one,) = deltas(1)
    made = dare([one], [1.0], generator=generator_for(1, "module"), density=0.4, dialect="mergekit")
    assert float(made.abs().sum()) == pytest.approx(float(one.abs().sum()), rel=1e-12)
    ratios = (made / one)[made != 0]
    assert torch.allclose(ratios, ratios[0].expand_as(ratios))


def test_mergekit_rescaled_the_same_given_what_it_dropped(golden: dict[str, Tensor], drawn: list[Tensor]) -> None:
    sparse = [golden[f"mergekit.dare.sparse.{i}"] for i in range(3)]
    for delta, theirs in zip(drawn, sparse, strict=True):
        assert torch.allclose(rescaled_to(delta * (theirs != 0), delta), theirs, rtol=1e-6, atol=1e-8)
    assert torch.allclose(summed(sparse, MIXED), golden["mergekit.dare.linear"], rtol=1e-5, atol=1e-8)
    ours = elected_by_weighted_sum(sparse, MIXED, is_normalized=False)
    assert torch.allclose(ours, golden["mergekit.dare.ties"], rtol=1e-5, atol=1e-8)


def test_peft_elects_the_same_given_what_it_dropped(deltas: Callable) -> None:
    drawn = deltas(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = dare_ties(drawn, torch.tensor(MIXED, dtype=torch.float64), 0.5)
        torch.manual_seed(0)
        sparse = [prune(delta, 0.5, method="random", rescale=True) for delta in drawn]
    assert torch.allclose(elected_by_sum(sparse, MIXED), theirs, rtol=0, atol=1e-12)
    for delta, kept in zip(drawn, sparse, strict=True):
        assert torch.allclose(kept, torch.where(kept != 0, delta / 0.5, 0.0))


@pytest.mark.parametrize("dialect", ["peft", "mergekit"])
def test_density_one_is_the_weighted_sum(deltas: Callable, dialect: str) -> None:
    drawn = deltas(3)
    made = dare(drawn, MIXED, generator=generator_for(0, "module"), density=1.0, dialect=dialect)
    assert torch.allclose(made, summed(drawn, MIXED), rtol=0, atol=1e-14)


def test_each_consensus_reads_the_same_sparse_deltas(deltas: Callable) -> None:
    drawn = deltas(3)
    made = {
        (dialect, consensus): dare(
            drawn, MIXED, generator=generator_for(3, "m"), density=0.5, dialect=dialect, consensus=consensus
        )
        for dialect in ("peft", "mergekit")
        for consensus in ("linear", "ties")
    }
    one_by_one = generator_for(3, "m")
    sparse = [dare([delta], [1.0], generator=one_by_one, density=0.5) for delta in drawn]
    assert torch.allclose(made["peft", "linear"], summed(sparse, MIXED))
    assert torch.allclose(made["peft", "ties"], elected_by_sum(sparse, MIXED))
    rescaled = [rescaled_to(kept, delta) for kept, delta in zip(sparse, drawn, strict=True)]
    assert torch.allclose(made["mergekit", "ties"], elected_by_weighted_sum(rescaled, MIXED, is_normalized=False))
    assert torch.allclose(made["mergekit", "linear"], summed(rescaled, MIXED))
