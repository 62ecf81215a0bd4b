"""A source of lower rank: what it says before it is computed, and what it computes of factors and of matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from arithmetic import Combination, Reduced, Vector, open_vector
from arithmetic.deltas import Dense, LowRank
from arithmetic.reduction import EnergyKept, ErrorAtMost, RankAtMost

TO_K = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
CONV, BIAS = "unet.conv_in", "unet.conv_in.bias"


@pytest.fixture(scope="module")
def total(workshop: Any) -> Combination:
    """a + b, of ranks 3 to 6 a module."""
    a, b = (workshop.opened(workshop.draft(seed)) for seed in (0, 1))
    return Combination(((1.0, a), (1.0, b)))


@pytest.fixture(scope="module")
def full(workshop: Any) -> Vector:
    """A matrix, a convolution's matrix, and a bias."""
    generator, path = torch.Generator().manual_seed(0), workshop.place()
    tensors = {
        f"{STEM}.diff": torch.randn(10, 7, generator=generator),
        "lora_unet_conv_in.diff": torch.randn(10, 4, 3, 3, generator=generator),
        "lora_unet_conv_in.diff_b": torch.randn(10, generator=generator),
    }
    save_file(tensors, path)
    return open_vector(path, workshop.table, name="full")


@pytest.mark.parametrize("module", [TO_K, CONV])
@pytest.mark.parametrize("rank", [1, 3, 99])
def test_a_matrix_is_reduced_to_its_leading_singular_triplets(module: str, rank: int, full: Vector) -> None:
    reduced = Reduced(full, (RankAtMost(rank),))
    delta, exact = reduced.delta(module), full.delta(module).dense().double().numpy()
    assert isinstance(delta, LowRank)
    assert delta.rank == reduced.modules[module].rank == min(rank, *exact.shape)
    u, sigma, vt = np.linalg.svd(exact, full_matrices=False)
    np.testing.assert_allclose(delta.dense().numpy(), (u[:, :rank] * sigma[:rank]) @ vt[:rank], rtol=0, atol=1e-12)
    assert delta.up.shape[2:] == (() if module == TO_K else (1, 1))
    assert delta.down.shape[1:] == full.spec(module).shape[1:]


def test_a_bias_has_no_rank_and_stays_as_it_is(full: Vector) -> None:
    reduced = Reduced(full, (RankAtMost(1),))
    assert reduced.modules[BIAS].rank is None
    assert isinstance(reduced.delta(BIAS), Dense)
    assert torch.equal(reduced.delta(BIAS).dense(), full.delta(BIAS).dense())


def test_a_rank_that_is_large_enough_leaves_the_factors_as_they_are(total: Combination) -> None:
    reduced = Reduced(total, (RankAtMost(99),))
    for module in total.modules:
        before, after = total.delta(module), reduced.delta(module)
        assert torch.equal(before.up, after.up)
        assert torch.equal(before.down, after.down)
        assert reduced.modules[module].rank == total.modules[module].rank


@pytest.mark.parametrize(
    ("rules", "lowers"),
    [
        ((RankAtMost(4),), False),
        ((RankAtMost(3),), True),
        ((EnergyKept(0.5),), True),
        ((RankAtMost(9), ErrorAtMost(0.1)), True),
        ((RankAtMost(9), RankAtMost(2)), True),
    ],
)
def test_only_a_rank_that_is_large_enough_is_known_to_lower_nothing(
    rules: tuple, lowers: bool, total: Combination
) -> None:
    reduced = Reduced(total, rules)
    assert reduced.lowers(4) is lowers
    assert reduced.lowers(None)


@pytest.mark.parametrize("rules", [(EnergyKept(0.6),), (ErrorAtMost(0.4),), (RankAtMost(4), EnergyKept(0.7))])
def test_the_rank_said_beforehand_is_the_most_that_comes_out(rules: tuple, total: Combination) -> None:
    reduced = Reduced(total, rules)
    ranks = {module: reduced.delta(module).rank for module in reduced.modules}
    assert all(ranks[module] <= sized.rank for module, sized in reduced.modules.items())
    assert any(ranks[module] < sized.rank for module, sized in reduced.modules.items())


def test_signs_are_canonical_of_factors_and_of_matrices(total: Combination, full: Vector) -> None:
    for source in (total, full):
        up = Reduced(source, (RankAtMost(2),)).delta(CONV).up.flatten(1)
        assert (up.gather(0, up.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_the_content_is_of_the_source_and_the_rules(total: Combination, full: Vector) -> None:
    sources = [
        (total, (RankAtMost(2),)),
        (full, (RankAtMost(2),)),
        (total, (RankAtMost(3),)),
        (total, (EnergyKept(0.5),)),
    ]
    contents = [Reduced(source, rules).content for source, rules in sources]
    assert len(set(contents)) == len(sources)
    assert Reduced(total, (RankAtMost(2),)).content == contents[0]


def test_reducing_twice_is_reducing_to_the_smaller(total: Combination, workshop: Any, worst_error: Callable) -> None:
    once = Reduced(total, (RankAtMost(2),))
    twice = Reduced(Reduced(total, (RankAtMost(3),)), (RankAtMost(2),))
    for module in total.modules:
        np.testing.assert_allclose(twice.delta(module).dense(), once.delta(module).dense(), rtol=0, atol=1e-12)
