"""Vectors for the laws: a seed deals out ranks, alphas, the modules that are adapted, and the layout of the file."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from arithmetic import Vector
from formats import Layout

LAYOUTS = (Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT, Layout.KOHYA_SGM, Layout.COMFY)
RANKS = ((3, 1, 4), (2, 5), (1, 2, 3, 6), (4,))
ALPHAS = (2.0, 0.75, 9.0, 1.0, -3.0)


@pytest.fixture(scope="module")
def vectors(workshop: Any) -> Callable[[int], Vector]:
    """vectors(seed) -> a file; equal seeds are the same one. Alphas are not the ranks, modules are missing."""
    made: dict[int, Vector] = {}

    def make(seed: int) -> Vector:
        if seed not in made:
            dealt, table = random.Random(seed), tuple(workshop.table.modules)
            modules = sorted(dealt.sample(table, dealt.randint(len(table) // 2, len(table))), key=table.index)
            drawn = workshop.draft(seed, modules, ranks=dealt.choice(RANKS), alphas=dealt.sample(ALPHAS, 2))
            made[seed] = workshop.opened(drawn, dealt.choice(LAYOUTS))
        return made[seed]

    return make
