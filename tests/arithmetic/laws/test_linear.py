"""Laws 1 to 7 and 14 of sums, from the text of a recipe to a file that is read without this package.

Laws 2, 3, 4, 5, 6 and 7 on plans, without a file, are in tests/arithmetic/sources/test_combination.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from arithmetic import ValidationRefused, Vector, open_vector, plan
from formats import Layout

LAYOUTS = (Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT, Layout.KOHYA_SGM, Layout.COMFY)
BOUND = 1e-6

few = settings(max_examples=10)
seeds = st.integers(0, 10)
weights = st.decimals(-3, 3, places=2).filter(bool)
layouts = st.sampled_from(LAYOUTS)
Vectors = Callable[[int], Vector]
Worst = Callable[..., float]


def same_tensors(left: Path, right: Path) -> bool:
    """Whether two single files hold the same keys and bits."""
    one, other = load_file(left), load_file(right)
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


@few
@given(seeds, layouts)
def test_a_vector_alone_at_lambda_one_keeps_its_delta(
    workshop: Any, vectors: Vectors, worst_error: Worst, seed: int, layout: Layout
) -> None:
    """Law 1."""
    a = vectors(seed)
    assert worst_error(workshop.deltas("a", layout, a=a), [(1.0, workshop.read(a.path))]) < BOUND


@few
@given(seeds, seeds, weights)
def test_a_term_of_lambda_zero_leaves_no_trace_in_the_file(
    workshop: Any, vectors: Vectors, first: int, second: int, x: float
) -> None:
    """Law 2."""
    opened = {"a": vectors(first), "b": vectors(second)}
    assert same_tensors(workshop.composed(f"0*a + {x}*b", **opened), workshop.composed(f"{x}*b", b=opened["b"]))


def test_lambda_zero_alone_is_exactly_nothing_and_refused_as_a_file(workshop: Any, vectors: Vectors) -> None:
    """Law 2."""
    for text in ("0*a", "0*a - 0*b", "a{unet: 0, text_encoder: 0}"):
        opened = {"a": workshop.opened(workshop.draft(0)), "b": vectors(1)}
        assert plan(workshop.bound(text, **opened).combination).modules == ()
        with pytest.raises(ValidationRefused, match="no-change"):
            workshop.composed(text, **opened)


@few
@given(seeds, seeds, weights)
def test_lambda_and_its_negative_cancel_to_the_bit(
    workshop: Any, vectors: Vectors, first: int, second: int, x: float
) -> None:
    """Law 3."""
    opened = {"a": vectors(first), "b": vectors(second)}
    if first != second:
        cancelled = workshop.composed(f"a + {x}*b - {x}*b", **opened)
        assert same_tensors(cancelled, workshop.composed("a", a=opened["a"]))


@few
@given(st.integers(0, 10), weights, layouts)
def test_lambda_and_its_negative_cancel_between_two_layouts_of_one_vector(
    workshop: Any, vectors: Vectors, worst_error: Worst, seed: int, x: float, layout: Layout
) -> None:
    """Law 3."""
    drawn = workshop.draft(seed, ranks=(2,), alphas=(2.0,))
    b, c = workshop.opened(drawn), workshop.opened(drawn, layout)
    a = vectors(seed)
    left = workshop.deltas(f"a + {x}*b - {x}*c", a=a, b=b, c=c)
    terms = [(1.0, workshop.read(a.path)), (float(x), drawn.deltas()), (-float(x), drawn.deltas())]
    assert worst_error(left, terms) < BOUND


@few
@given(seeds, seeds, weights, weights)
def test_the_file_of_a_sum_is_the_sum_of_the_files(
    workshop: Any, vectors: Vectors, worst_error: Worst, first: int, second: int, x: float, y: float
) -> None:
    """Law 4."""
    a, b = vectors(first), vectors(second + 11)
    parts = [(1.0, workshop.deltas(f"{x}*a", a=a)), (1.0, workshop.deltas(f"{y}*b".replace("+ -", "- "), b=b))]
    assert worst_error(workshop.deltas(f"{x}*a + {y}*b".replace("+ -", "- "), a=a, b=b), parts) < BOUND


@few
@given(seeds)
def test_two_halves_are_a_whole_to_the_bit(workshop: Any, vectors: Vectors, seed: int) -> None:
    """Law 5."""
    a = vectors(seed)
    whole = workshop.composed("a", a=a)
    for text in ("0.5*a + 0.5*a", "0.1*a + 0.2*a + 0.7*a", "0.5*(a + a)", "2*a - a"):
        assert same_tensors(workshop.composed(text, a=a), whole)


@few
@given(st.integers(0, 100), layouts, layouts)
def test_halves_of_one_vector_in_two_layouts_are_the_vector(
    workshop: Any, worst_error: Worst, seed: int, first: Layout, second: Layout
) -> None:
    """Law 5."""
    drawn = workshop.draft(seed)
    opened = {"a": workshop.opened(drawn, first), "b": workshop.opened(drawn, second)}
    assert worst_error(workshop.deltas("0.5*a + 0.5*b", **opened), [(1.0, drawn.deltas())]) < BOUND


@few
@given(seeds, st.permutations(("0.7*a", "-1.3*b", "2*c")), layouts)
def test_neither_order_nor_grouping_changes_the_sum(
    workshop: Any, vectors: Vectors, worst_error: Worst, seed: int, order: list[str], layout: Layout
) -> None:
    """Law 6."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1), "c": vectors(seed + 2)}
    expected = [(w, workshop.read(opened[name].path)) for w, name in ((0.7, "a"), (-1.3, "b"), (2.0, "c"))]
    first, second, third = order
    text = f"{first} + {second} + {third}".replace("+ -", "- ")
    assert worst_error(workshop.deltas(text, layout, **opened), expected) < BOUND
    half = workshop.composed(f"{first} + {second}".replace("+ -", "- "), layout, **opened)
    opened["d"] = reopened(workshop, half)
    assert worst_error(workshop.deltas(f"d + {third}".replace("+ -", "- "), **opened), expected) < BOUND


def reopened(workshop: Any, path: Path) -> Vector:
    """A file that was composed, as an input."""
    return open_vector(path, workshop.table)


@few
@given(seeds, weights, weights, weights)
def test_a_factor_of_all_lambdas_is_a_factor_of_the_sum(
    workshop: Any, vectors: Vectors, worst_error: Worst, seed: int, x: float, y: float, c: float
) -> None:
    """Law 7."""
    opened = {"a": vectors(seed), "b": vectors(seed + 1)}
    one = workshop.deltas(f"{x}*a + {y}*b".replace("+ -", "- "), **opened)
    scaled = workshop.deltas(f"{c}*({x}*a + {y}*b)".replace("+ -", "- "), **opened)
    assert worst_error(scaled, [(float(c), one)]) < BOUND


@few
@given(st.integers(0, 100), st.integers(1, 9))
def test_modules_of_one_vector_alone_pass_through_the_sum_to_the_bit(workshop: Any, seed: int, cut: int) -> None:
    """Law 14. In a diffusers file, whose alphas are the ranks: nothing is folded into a factor for the others' sake."""
    modules = tuple(workshop.table.modules)
    a, b = (workshop.opened(workshop.draft(seed, own)) for own in (modules[:cut], modules[cut:]))
    both = workshop.deltas("0.7*a - 1.1*b", Layout.DIFFUSERS, a=a, b=b)
    alone = workshop.deltas("0.7*a", Layout.DIFFUSERS, a=a) | workshop.deltas("-1.1*b", Layout.DIFFUSERS, b=b)
    assert both.keys() == alone.keys() == set(modules)
    assert all(np.array_equal(both[module], alone[module]) for module in modules)
