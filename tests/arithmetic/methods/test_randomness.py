"""Random numbers follow from the seed and the module, and from nothing else."""

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st

from arithmetic.methods import METHODS, merged
from arithmetic.randomness import generator_for

MODULES = ("unet.conv_in", "unet.conv_out", "unet.mid_block.resnets.0.conv1")


@given(st.permutations(MODULES), st.integers(0, 2**63 - 1))
def test_the_order_of_the_modules_does_not_matter(deltas: Callable, order: list[str], seed: int) -> None:
    drawn = deltas(2)
    for name in ("dare", "della"):
        results = {
            module: merged(METHODS[name], drawn, [1.0, 0.5], module=module, options={"seed": seed}) for module in order
        }
        for module in MODULES:
            again = merged(METHODS[name], drawn, [1.0, 0.5], module=module, options={"seed": seed})
            assert torch.equal(results[module], again)


def test_other_seeds_and_other_modules_draw_other_numbers() -> None:
    drawn = [torch.rand(4, generator=generator_for(seed, module)) for seed in (0, 1) for module in MODULES]
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == 6


def test_the_global_generator_is_neither_read_nor_changed(deltas: Callable) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = merged(METHODS["dare"], deltas(1), [1.0], module="m", options={"seed": 5})
        state = torch.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(first, merged(METHODS["dare"], deltas(1), [1.0], module="m", options={"seed": 5}))
        torch.manual_seed(1)
        assert torch.equal(state, torch.get_rng_state())


def test_the_numbers_of_a_seed_are_these() -> None:
    """A locked recipe must draw the same in years to come."""
    numbers = torch.rand(3, generator=generator_for(1, "unet.conv_in"), dtype=torch.float64)
    assert numbers.tolist() == [0.5476671068317145, 0.1719243481624887, 0.8137644270597364]
