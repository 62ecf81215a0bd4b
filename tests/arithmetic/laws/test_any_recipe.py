"""Whatever sums, scopes and reductions a recipe nests: its file is what numpy makes of the same tree."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import Layout

LAYOUTS = (Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT, Layout.KOHYA_SGM, Layout.COMFY)
BOUND = 1e-5
Deltas = dict[str, np.ndarray]

SCOPES: dict[str, Callable[[str], float]] = {
    "": lambda module: 1.0,
    "{/attn1/: 0.5}": lambda module: 0.5 if "attn1" in module else 1.0,
    "{unet: 0.25, else: 3}": lambda module: 0.25 if module.startswith("unet.") else 3.0,
}

leaves = st.sampled_from("abc")
sums = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.lists(
            st.tuples(st.sampled_from((0.3, 0.7, 1.1, 2.0)), inner, st.sampled_from(tuple(SCOPES))),
            min_size=1,
            max_size=3,
        ),
        st.integers(1, 5),
    ),
    max_leaves=6,
)


def text_of(node: Any) -> str:
    """A name, or a reduced sum in parentheses."""
    if isinstance(node, str):
        return node
    terms, rank = node
    return f"({' + '.join(f'{weight}*{text_of(one)}{scope}' for weight, one, scope in terms)} | rank({rank}))"


def value_of(node: Any, opened: dict[str, Deltas]) -> Deltas:
    """The same in numpy."""
    if isinstance(node, str):
        return opened[node]
    terms, rank = node
    total: Deltas = {}
    for weight, one, scope in terms:
        for module, delta in value_of(one, opened).items():
            total[module] = total.get(module, 0.0) + weight * SCOPES[scope](module) * delta
    return {module: _best(delta, rank) for module, delta in total.items()}


def _best(delta: np.ndarray, rank: int) -> np.ndarray:
    u, sigma, vt = np.linalg.svd(delta, full_matrices=False)
    return (u[:, :rank] * sigma[:rank]) @ vt[:rank]


@settings(max_examples=30)
@given(sums, st.sampled_from(LAYOUTS))
def test_a_recipe_of_any_shape_is_the_file_that_numpy_makes(
    workshop: Any, worst_error: Callable, node: Any, layout: Layout
) -> None:
    """Laws 4 to 7, 10 and 15 together."""
    opened = {name: workshop.opened(workshop.draft(seed)) for seed, name in enumerate("abc")}
    deltas = {name: workshop.read(vector.path) for name, vector in opened.items()}
    found = workshop.deltas(f"0.9*{text_of(node)} + 0.1*a", layout, **opened)
    assert worst_error(found, [(0.9, value_of(node, deltas)), (0.1, deltas["a"])]) < BOUND
