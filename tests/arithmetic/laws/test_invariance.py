"""Laws 12 and 17: the bytes of a composition do not depend on how it was computed, and a bake can be taken back.

Law 12 for every kind of base is in tests/arithmetic/baking/test_residual.py; law 17 of bakes in baking/test_bakes.py.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from arithmetic import Resources, Vector, bake, bind, compose, open_weights, parse, unbake
from formats import Layout

RECIPES = (
    "0.8*a - 0.5*b",
    "0.8*a{/attn/: 0.5} + b | rank(3)",
    "a + b | energy(0.9)",
    "(a + b | error(0.2)) - 0.3*a",
    "tsv(a, b) + 0.1*a",
    "dare(a, 0.7*b; seed=5) | rank(4)",
    "knots(a, b) | rank(3)",
    "peft-linear(a, b)",
)


@pytest.fixture
def own_threads() -> Iterator[None]:
    """Restores the number of threads."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def opened(workshop: Any) -> dict[str, Vector]:
    """Two vectors of one rank a module, so that every tool can add them."""
    return {name: workshop.opened(workshop.draft(seed, alphas=(2.0,))) for name, seed in (("a", 0), ("b", 1))}


@pytest.mark.parametrize("text", RECIPES)
@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.DIFFUSERS])
@pytest.mark.usefixtures("own_threads")
def test_neither_workers_nor_memory_nor_threads_change_a_byte(
    text: str, layout: Layout, opened: dict[str, Vector], workshop: Any
) -> None:
    """Law 17."""
    made = []
    for workers, memory, threads in ((1, 1 << 30, 1), (4, 1 << 30, 2), (3, 1 << 20, 3)):
        torch.set_num_threads(threads)
        path, combination = workshop.place(), workshop.bound(text, **opened).combination
        used = Resources(workers=workers, memory=memory)
        compose(combination, path, layout=layout, recipe=text, locked=text, resources=used)
        made.append(path.read_bytes())
    assert made[0] == made[1] == made[2]


def test_a_baked_recipe_is_taken_out_again_to_the_byte(opened: dict[str, Vector], workshop: Any) -> None:
    """Law 12, with a sum of files."""
    base, text = workshop.base(), "base + 0.8*a{/attn/: 0.5} - 0.5*b"
    bound = bind(parse(text), {"base": base, **opened})
    baked, residual, again = workshop.place(), workshop.place(), workshop.place()
    bake(bound.bases, bound.combination, baked, residual=residual)
    assert baked.read_bytes() != base.path.read_bytes()
    unbake(open_weights(baked, workshop.table), bound.combination, residual, again)
    assert again.read_bytes() == base.path.read_bytes()
