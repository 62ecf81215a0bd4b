"""The laws of sums, on vectors with mixed ranks, alphas != ranks, convolutions and a text encoder."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import AlgebraError, Combination, Precision, Vector, combine_module, distinct_terms, open_vector, plan
from formats import Architecture, Layout

weights = st.decimals(-3, 3, places=3).map(float)
TINY = 1e-7


class World:
    """Vectors made on demand in a folder of their own, and their sums as dense float64 matrices."""

    def __init__(self, folder: Path, draft: Callable, save: Callable, table: Architecture) -> None:
        self.folder, self.draft, self.save, self.table = folder, draft, save, table
        self.made: dict[str, Vector] = {}

    def vector(self, seed: int, modules: Sequence[str] | None = None, layout: Layout = Layout.KOHYA) -> Vector:
        name = f"{seed}-{len(modules or ())}-{layout}"
        if name not in self.made:
            ranks = ((3, 1, 4), (2, 5), (1, 2, 3, 6))[seed % 3]
            drawn = self.draft(seed, modules or tuple(self.table.modules), ranks=ranks, alphas=(2.0, 0.7, 9.0))
            self.made[name] = self.opened(drawn, name, layout)
        return self.made[name]

    def opened(self, drawn: object, name: str, layout: Layout = Layout.KOHYA) -> Vector:
        return open_vector(self.save(drawn, self.folder / name, layout), self.table)

    def total(self, *terms: tuple[float, Vector]) -> dict[str, np.ndarray]:
        """Dense deltas of the exact sum; a module that is not in the plan is zero."""
        dense = {module: np.zeros((s.shape[0], int(np.prod(s.shape[1:])))) for module, s in self.table.modules.items()}
        for module in plan(Combination(terms)).modules:
            up, down = combine_module(module).matrices()
            dense[module.module] = (up @ down).numpy()
        return dense


@pytest.fixture(scope="module")
def world(draft: Callable, save: Callable, table: Architecture) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        yield World(Path(folder), draft, save, table)


def assert_equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    for module in left:
        np.testing.assert_allclose(left[module], right[module], rtol=0, atol=TINY * 3, err_msg=module)


def scaled(factor: float, deltas: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {module: factor * delta for module, delta in deltas.items()}


def added(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {module: left[module] + right[module] for module in left}


def test_one_vector_at_weight_one_keeps_its_delta(world: World) -> None:
    drawn = world.draft(4)
    total = world.total((1.0, world.opened(drawn, "alone")))
    assert_equal(drawn.deltas(), total)


def test_weight_zero_takes_no_module_at_all(world: World) -> None:
    assert plan(Combination(((0.0, world.vector(0)),))).modules == ()


@given(weights, weights)
def test_a_sum_is_the_sum_of_its_terms(world: World, x: float, y: float) -> None:
    a, b = world.vector(0), world.vector(1)
    assert_equal(world.total((x, a), (y, b)), added(world.total((x, a)), world.total((y, b))))


@given(weights)
def test_opposite_weights_cancel_to_exactly_nothing(world: World, x: float) -> None:
    assert plan(Combination(((x, world.vector(0)), (-x, world.vector(0))))).modules == ()


@given(weights)
def test_opposite_weights_of_two_copies_in_other_layouts_cancel(world: World, x: float) -> None:
    kohya, peft = world.vector(2, layout=Layout.KOHYA), world.vector(2, layout=Layout.PEFT)
    assert_equal(world.total((x, kohya), (-x, peft)), scaled(0.0, world.total((1.0, kohya))))


def test_two_halves_are_bit_equal_to_one_whole(world: World) -> None:
    a = world.vector(0)
    halves, whole = plan(Combination(((0.5, a), (0.5, a)))), plan(Combination(((1.0, a),)))
    for half, full in zip(halves.modules, whole.modules, strict=True):
        assert torch.equal(combine_module(half).up, combine_module(full).up)


@given(weights, weights, weights)
def test_the_order_of_terms_does_not_change_the_sum(world: World, x: float, y: float, z: float) -> None:
    a, b, c = ((x, world.vector(0)), (y, world.vector(1)), (z, world.vector(2)))
    assert_equal(world.total(a, b, c), world.total(c, a, b))


@given(weights, weights, weights)
def test_scaling_every_weight_scales_the_sum(world: World, x: float, y: float, c: float) -> None:
    a, b = world.vector(0), world.vector(1)
    assert_equal(world.total((c * x, a), (c * y, b)), scaled(c, world.total((x, a), (y, b))))


@given(st.integers(0, 2**16), st.booleans())
def test_another_gauge_of_the_factors_gives_the_same_sum(world: World, seed: int, permute: bool) -> None:
    """(B, A) -> (B G, G^-1 A), G orthogonal or a permutation."""
    drawn, generator = world.draft(5), torch.Generator().manual_seed(seed)
    turned = {}
    for module, (up, down, alpha) in drawn.factors.items():
        rank = down.shape[0]
        gauge = torch.linalg.qr(torch.randn(rank, rank, generator=generator, dtype=torch.float64))[0]
        if permute:
            gauge = torch.eye(rank, dtype=torch.float64)[torch.randperm(rank, generator=generator)]
        other_up = torch.einsum("mr...,rs->ms...", up.double(), gauge).float()
        turned[module] = (other_up, torch.einsum("rs,r...->s...", gauge, down.double()).float(), alpha)
    other = world.opened(type(drawn)(turned), f"gauge-{seed}-{permute}")
    b = world.vector(1)
    assert_equal(world.total((0.8, world.opened(drawn, "gauge")), (1.0, b)), world.total((0.8, other), (1.0, b)))


@given(st.sampled_from([0.125, 0.3, 4.0, 77.0]))
def test_moving_scale_between_alpha_and_down_changes_nothing(world: World, c: float) -> None:
    drawn = world.draft(6)
    moved = {m: (up, (down.double() / c).float(), alpha * c) for m, (up, down, alpha) in drawn.factors.items()}
    other = world.opened(type(drawn)(moved), f"moved-{c}")
    assert_equal(world.total((0.8, world.opened(drawn, "unmoved"))), world.total((0.8, other)))


@pytest.mark.parametrize("precision", list(Precision))
def test_modules_of_one_vector_alone_pass_through(world: World, precision: Precision) -> None:
    """In fp16 the factors may move by powers of two, so there the product is compared."""
    modules = tuple(world.table.modules)
    a, b = world.vector(0, modules[:4]), world.vector(1, modules[4:])
    both = {m.module: combine_module(m, precision) for m in plan(Combination(((1.0, a), (1.0, b)))).modules}
    assert tuple(both) == modules
    for module, factors in both.items():
        own = plan(Combination(((1.0, a if module in a.modules else b),))).modules
        alone = combine_module(next(m for m in own if m.module == module), precision)
        assert torch.equal(factors.up, alone.up)
        assert torch.equal(factors.down, alone.down)


def test_down_keeps_its_bits_in_float32(world: World) -> None:
    a, b = world.vector(0), world.vector(1)
    for module in plan(Combination(((0.3, a), (-1.7, b)))).modules:
        stacked = torch.cat([a.factors(module.module).down, b.factors(module.module).down])
        assert torch.equal(combine_module(module).down, stacked)


def test_the_rank_of_a_sum_is_the_sum_of_the_ranks(world: World) -> None:
    a, b = world.vector(0), world.vector(1)
    for module in plan(Combination(((0.3, a), (-1.7, b)))).modules:
        assert (
            combine_module(module).rank == module.rank == a.modules[module.module].rank + b.modules[module.module].rank
        )


def test_weights_of_equal_content_add_up_as_decimals(world: World) -> None:
    a = world.vector(0)
    ((weight, vector),) = distinct_terms(Combination(((0.1, a), (0.2, a), (-0.3, a))))
    assert weight == 0.0
    assert vector is a


def test_half_precision_keeps_small_factors(world: World) -> None:
    """up entries of 1e-6 would be subnormal in fp16; balancing moves them into its range."""
    drawn = world.draft(8)
    small = {m: (up * 1e-5, down * 10.0, alpha) for m, (up, down, alpha) in drawn.factors.items()}
    vector = world.opened(type(drawn)(small), "small")
    expected = type(drawn)(small).deltas()
    for module in plan(Combination(((1.0, vector),))).modules:
        up, down = combine_module(module, Precision.FP16).matrices()
        error = np.linalg.norm((up @ down).numpy() - expected[module.module])
        assert error < 1e-3 * np.linalg.norm(expected[module.module])


@pytest.mark.parametrize("terms", [(), ((float("nan"), None),), ((float("inf"), None),)])
def test_no_terms_or_no_number_is_refused(world: World, terms: tuple) -> None:
    with pytest.raises(AlgebraError, match=r"no terms|finite"):
        Combination(tuple((weight, world.vector(0)) for weight, _ in terms))
