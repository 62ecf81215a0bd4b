"""Law 16: random and sparse methods, from a recipe to a file; `rank(99)` of the small modules loses nothing.

The methods on tensors are in tests/arithmetic/methods.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arithmetic import Vector

few = settings(max_examples=5)
FINE = 1e-5


@few
@given(st.integers(0, 10), st.integers(0, 2**40), st.floats(0.2, 0.9))
def test_dare_keeps_some_entries_and_rescales_them(
    workshop: Any, vectors: Callable[[int], Vector], seed: int, drawn: int, density: float
) -> None:
    """Law 16."""
    a = vectors(seed)
    dropped = workshop.deltas(f"dare(0.8*a; density={density}, seed={drawn}) | rank(99)", a=a)
    kept = total = 0
    for module, delta in workshop.read(a.path).items():
        rescaled = 0.8 * delta / density
        tolerance = FINE * np.abs(rescaled).max()
        is_kept = np.abs(dropped[module] - rescaled) <= tolerance
        assert (is_kept | (np.abs(dropped[module]) <= tolerance)).all()
        kept, total = kept + int(is_kept.sum()), total + delta.size
    assert abs(kept / total - density) < 5 * (density * (1 - density) / total) ** 0.5 + 0.01


def test_dare_is_seeded(workshop: Any, vectors: Callable[[int], Vector]) -> None:
    """Law 16: a seed is a file, to the byte."""
    a = vectors(1)
    one, again, other = (
        workshop.composed(f"dare(a; seed={seed}) | rank(99)", a=a).read_bytes().split(b"}}", 1)[1] for seed in (3, 3, 4)
    )
    assert one == again
    assert one != other


def test_dare_keeps_the_expectation(workshop: Any, vectors: Callable[[int], Vector]) -> None:
    """Law 16: over N seeds each entry's mean has variance dW^2 (1 - p) / (p N), so z^2 is 1 on average."""
    a, draws, density = vectors(1), 200, 0.4
    module = next(iter(a.modules))
    exact = a.delta(module).dense().numpy()
    found = [
        workshop.bound(f"dare(a; density={density}, seed={seed})", a=a).combination.delta(module).dense().numpy()
        for seed in range(draws)
    ]
    scores = (np.mean(found, axis=0) - exact) / (np.abs(exact) * ((1 - density) / (density * draws)) ** 0.5)
    assert abs(scores.mean()) < 5 / exact.size**0.5
    assert (scores**2).mean() == pytest.approx(1, abs=5 * (2 / exact.size) ** 0.5)


@few
@given(st.integers(0, 100), st.integers(2, 3), st.floats(0.1, 1))
def test_ties_of_one_vector_in_several_files_is_the_pruned_vector(
    workshop: Any, worst_error: Callable, seed: int, count: int, density: float
) -> None:
    """Law 16."""
    drawn = workshop.draft(seed)
    opened = {name: workshop.opened(drawn) for name in "abc"[:count]}
    merged = workshop.deltas(f"ties({', '.join(opened)}; density={density}) | rank(99)", **opened)
    pruned = workshop.deltas(f"magnitude(a; density={density}) | rank(99)", a=opened["a"])
    assert worst_error(merged, [(1.0, pruned)]) < FINE
    for module, delta in drawn.deltas().items():
        kept = np.abs(pruned[module]) > FINE * np.abs(delta).max()
        smallest = np.abs(delta[kept]).min()
        assert (np.abs(delta[~kept]) <= smallest * (1 + FINE)).all()
        np.testing.assert_allclose(pruned[module][kept], delta[kept], rtol=0, atol=FINE * np.abs(delta).max())
        assert abs(int(kept.sum()) - density * delta.size) <= 1


def test_a_method_is_a_term_among_others(workshop: Any, worst_error: Callable) -> None:
    """Law 16: 0.5 * magnitude(a) + b, at density 1 the plain sum."""
    drawn, other = workshop.draft(0), workshop.draft(1)
    opened = {"a": workshop.opened(drawn), "b": workshop.opened(other)}
    found = workshop.deltas("0.5*(magnitude(a; density=1) | rank(99)) + b", **opened)
    assert worst_error(found, [(0.5, drawn.deltas()), (1.0, other.deltas())]) < FINE
