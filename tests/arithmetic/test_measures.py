import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from arithmetic import LowRank, Measures, UnknownMeasures, Vector, measure, open_vector
from arithmetic.deltas import Dense
from arithmetic.grams import matrices_of, own_grams
from arithmetic.measures import measure_delta
from formats import Architecture, Layout


@pytest.fixture
def opened(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> Callable[..., Vector]:
    def make(seed: int, layout: Layout = Layout.KOHYA, **settings: object) -> Vector:
        return open_vector(save(draft(seed, **settings), tmp_path / f"v{seed}-{layout}", layout), table)

    return make


def random_delta(seed: int, m: int, n: int, rank: int, scale: float, dtype: torch.dtype) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(m, rank, generator=generator).to(dtype)
    return LowRank(up, torch.randn(rank, n, generator=generator).to(dtype), scale)


@given(
    seed=st.integers(0, 10**6),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 60), st.integers(1, 12)),
    scale=st.sampled_from([0.0, 0.125, -1.0, 3.0]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)
def test_the_norm_by_gram_matrices_is_that_of_the_dense_delta(
    seed: int, sizes: tuple[int, int, int], scale: float, dtype: torch.dtype
) -> None:
    delta = random_delta(seed, *sizes, scale, dtype)
    dense = delta.dense().norm().item()
    assert measure_delta(delta).norm == pytest.approx(dense, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_norm_survives_factors_that_nearly_cancel(dtype: torch.dtype) -> None:
    """[b, -b] @ [a; a + small]: the Gram matrices are 1e6 times their trace."""
    delta = random_delta(3, 64, 96, 4, 1.0, dtype)
    nudge = (torch.arange(96) % 7 - 3) * 2.0**-9
    down = torch.cat([delta.down, (delta.down.float() + nudge).to(dtype)])
    tense = LowRank(torch.cat([delta.up, -delta.up], dim=1), down, 1.0)
    assert measure_delta(tense).norm == pytest.approx(tense.dense().norm().item(), rel=1e-6)


def test_half_precision_is_accurate_over_the_widest_modules() -> None:
    delta = random_delta(5, 1280, 11520, 64, 0.5, torch.float16)
    assert measure_delta(delta).norm == pytest.approx(delta.dense().norm().item(), rel=1e-6)


@pytest.mark.parametrize("factor", [2.0, 0.125, -3.0])
def test_the_norm_and_the_sketch_do_not_depend_on_how_the_delta_is_factored(factor: float) -> None:
    delta = random_delta(1, 12, 20, 5, 0.5, torch.float64)
    mixing = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 3 * torch.eye(5)
    other = LowRank(delta.up @ mixing * factor, torch.linalg.inv(mixing) @ delta.down / factor, 0.5)
    one, same, matrix = measure_delta(delta), measure_delta(other), measure_delta(Dense(delta.dense()))
    assert same.norm == pytest.approx(one.norm, rel=1e-9)
    assert same.sketch == pytest.approx(one.sketch, rel=1e-9)
    assert matrix.norm == pytest.approx(one.norm, rel=1e-9)
    assert matrix.sketch == pytest.approx(one.sketch, rel=1e-9)


def test_sketches_are_linear() -> None:
    a, b = (random_delta(seed, 9, 14, 3, 0.5, torch.float64) for seed in (1, 2))
    summed = Dense(0.7 * a.dense() - 1.3 * b.dense())
    expected = [0.7 * x - 1.3 * y for x, y in zip(measure_delta(a).sketch, measure_delta(b).sketch, strict=True)]
    assert measure_delta(summed).sketch == pytest.approx(expected)


def test_the_mean_square_of_the_sketches_of_many_deltas_is_their_squared_norm() -> None:
    measured = [measure_delta(random_delta(seed, 16, 24, 4, 1.0, torch.float64)) for seed in range(3000)]
    sketched = sum(number**2 for one in measured for number in one.sketch) / 2
    assert sketched == pytest.approx(sum(one.norm**2 for one in measured), rel=0.1)


def test_what_was_recorded_means_the_same_for_ever() -> None:
    """The fixed vectors of the sketches, pinned: registries hold what earlier versions wrote."""
    ramp = Dense(torch.arange(12, dtype=torch.float64).reshape(3, 4))
    assert measure_delta(ramp).sketch == pytest.approx((2.3877179124261954, -6.659210456972999), rel=1e-9)


def test_peaks_are_those_of_the_factors_that_a_file_holds() -> None:
    delta = LowRank(torch.tensor([[1.0, -8.0], [2.0, 3.0]]), torch.tensor([[0.5, 4.0], [0.25, -0.125]]), -2.0)
    measured = measure_delta(delta)
    assert (measured.up, measured.down) == (16.0, 4.0)
    assert measured.balanced == pytest.approx(math.sqrt(2 * 4 * 4))
    matrix = measure_delta(Dense(torch.tensor([[1.0, -5.0]]), 2.0))
    assert (matrix.up, matrix.down) == (10.0, 0.0)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_module_that_holds_no_number_is_named(number: float, opened: Callable, tmp_path: Path) -> None:
    vector = opened(0)
    tensors = load_file(vector.path)
    tensors["lora_unet_conv_in.lora_down.weight"][0, 0] = number
    save_file(tensors, tmp_path / "broken")
    measured = measure(open_vector(tmp_path / "broken", vector.architecture))
    assert measured.non_finite == ("unet.conv_in",)
    assert math.isinf(measured.norm)
    assert Measures.from_bytes(measured.to_bytes()) == measured


def test_a_whole_vector_has_the_norm_of_its_modules(opened: Callable, draft: Callable) -> None:
    measured = measure(opened(0))
    deltas = draft(0).deltas()
    assert list(measured.modules) == list(deltas)
    assert measured.norm == pytest.approx(math.sqrt(sum((delta**2).sum() for delta in deltas.values())), rel=1e-6)
    assert measured.largest_norm == pytest.approx(max((delta**2).sum() for delta in deltas.values()) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("modules", [(), ("unet.conv_in",), None])
def test_measures_survive_bytes_bit_for_bit(modules: Sequence[str] | None, opened: Callable) -> None:
    measured = Measures({}) if modules == () else measure(opened(0, **({"modules": modules} if modules else {})))
    content = measured.to_bytes()
    assert Measures.from_bytes(content) == measured
    assert Measures.from_bytes(content).to_bytes() == content


@pytest.mark.parametrize("size", [1e-30, 1e-60, 1e30])
def test_measures_of_tiny_and_of_huge_deltas_keep_their_digits(size: float) -> None:
    one = measure_delta(random_delta(0, 8, 8, 2, size, torch.float64))
    kept = Measures.from_bytes(Measures({"unet.conv_in": one}).to_bytes()).modules["unet.conv_in"]
    assert kept.norm == pytest.approx(one.norm, rel=1e-6)
    assert kept.sketch == pytest.approx(one.sketch, rel=1e-6)


@pytest.mark.parametrize(
    "damage", [b"", b"TAUM", lambda c: b"X" + c[1:], lambda c: c[:4] + b"\x09" + c[5:], lambda c: c[:-9]]
)
def test_bytes_of_another_version_or_damaged_ones_are_refused(damage: object, opened: Callable) -> None:
    content = measure(opened(0)).to_bytes()
    with pytest.raises(UnknownMeasures, match="Measure the vector again"):
        Measures.from_bytes(damage(content) if callable(damage) else damage)


def test_measures_cover_the_vector_that_they_are_of(opened: Callable) -> None:
    measured = measure(opened(0))
    assert measured.covers(opened(1))
    assert not measured.covers(opened(2, modules=("unet.conv_in",)))


def test_progress_counts_modules(opened: Callable) -> None:
    calls: list[tuple[int, int]] = []
    measure(opened(0), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 10) for done in range(1, 11)]


def test_factors_of_half_precision_are_multiplied_exactly() -> None:
    delta = random_delta(0, 30, 40, 3, 1.0, torch.float16)
    factors = matrices_of(delta)
    assert factors is not None
    assert factors.up.dtype is torch.float32
    wide, own = own_grams(factors)
    assert torch.allclose(own.up, delta.up.double().T @ delta.up.double(), rtol=1e-6, atol=1e-5)
    assert wide.up.dtype in (torch.float32, torch.float64)
