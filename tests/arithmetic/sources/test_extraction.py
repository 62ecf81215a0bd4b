"""A vector out of two bases, against the exact singular values of the difference in float64."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from arithmetic.baking import bake
from arithmetic.deltas import Dense, LowRank
from arithmetic.errors import AlgebraError, Cancelled, MissingModule
from arithmetic.randomness import generator_for
from arithmetic.reduction.randomised import randomised_svd
from arithmetic.reduction.spool import Spool
from arithmetic.resources import Resources
from arithmetic.sources.difference import Difference
from arithmetic.sources.extraction import extract
from arithmetic.weights import Weights, open_weights
from formats import Architecture, ModuleSpec

TABLE = Architecture(
    "tiny",
    {
        "unet.conv_in": ModuleSpec("conv", (120, 16, 3, 3)),
        "unet.mid_block.attentions.0.proj_in": ModuleSpec("linear", (150, 130)),
        "text_encoder.text_model.encoder.layers.0.mlp.fc1": ModuleSpec("linear", (24, 6)),
    },
)
CONV, PROJECTION, FC1 = TABLE.modules
BIAS = f"{CONV}.bias"
KEYS = {
    CONV: "model.diffusion_model.input_blocks.0.0.weight",
    BIAS: "model.diffusion_model.input_blocks.0.0.bias",
    PROJECTION: "model.diffusion_model.middle_block.1.proj_in.weight",
    FC1: "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
}


def with_spectrum(rows: int, columns: int, values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A float64 matrix with these singular values."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (
        torch.linalg.qr(torch.randn(n, len(values), generator=generator, dtype=torch.float64)).Q
        for n in (rows, columns)
    )
    return (u * values) @ v.T


def decaying(kind: str, count: int) -> torch.Tensor:
    steps = torch.arange(count, dtype=torch.float64)
    return {"geometric": 0.9**steps, "slow": 1 / (1 + steps), "step": torch.where(steps < 12, 1.0, 1e-3)}[kind]


Write = Callable[[str, Mapping[str, torch.Tensor]], Weights]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A base of these modules, in one file."""

    def written(name: str, tensors: Mapping[str, torch.Tensor]) -> Weights:
        stored = {KEYS[module]: tensor.reshape(shape_of(module)).contiguous() for module, tensor in tensors.items()}
        save_file(stored, tmp_path / name)
        return open_weights(tmp_path / name, TABLE)

    return written


def shape_of(module: str) -> tuple[int, ...]:
    return (120,) if module == BIAS else TABLE.modules[module].shape


def random_base(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m: (torch.randn(shape_of(m), generator=generator, dtype=torch.float64) * 0.05).to(dtype) for m in KEYS}


def tuned(base: Mapping[str, torch.Tensor], kind: str = "geometric") -> dict[str, torch.Tensor]:
    """`base` and a decaying difference in two modules and a bias; fc1 as it was."""
    changed = dict(base)
    for module, columns in ((CONV, 144), (PROJECTION, 130)):
        rows = shape_of(module)[0]
        delta = with_spectrum(rows, columns, decaying(kind, 100), seed=columns).reshape(shape_of(module))
        changed[module] = (base[module].double() + delta).to(base[module].dtype)
    changed[BIAS] = base[BIAS] + torch.ones(120, dtype=base[BIAS].dtype)
    return changed


def test_the_difference_is_exact_and_its_modules_are_everything(write: Write) -> None:
    a, b = random_base(0, torch.float16), random_base(1, torch.float16)
    difference = Difference(((1.0, write("a", a)), (-1.0, write("b", b))))
    assert difference.modules.keys() == KEYS.keys()
    for module in KEYS:
        expected = (a[module].double() - b[module].double()).reshape(shape_of(module)[0], -1)
        delta = difference.delta(module)
        assert delta.matrix.dtype == torch.float32
        assert torch.allclose(delta.dense(), expected, rtol=1e-6, atol=0)
    fine = Difference(((0.3, write("c", random_base(0))), (-0.1, write("d", random_base(1))), (-0.2, write("e", a))))
    expected = 0.3 * random_base(0)[CONV] - 0.1 * random_base(1)[CONV] - 0.2 * a[CONV].double()
    assert torch.allclose(fine.delta(CONV).dense(), expected.reshape(120, -1), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("kind", ["geometric", "slow", "step"])
@pytest.mark.parametrize("rank", [1, 8, 20])
def test_every_module_is_within_a_thousandth_of_the_best_of_its_rank(kind: str, rank: int, write: Write) -> None:
    base = random_base(0)
    after = tuned(base, kind)
    found = extract(Difference(((1.0, write("a", after)), (-1.0, write("b", base)))), rank=rank)
    for module in (CONV, PROJECTION):
        exact = (after[module] - base[module]).reshape(shape_of(module)[0], -1)
        best = torch.linalg.svdvals(exact)[rank:].norm()
        got = (exact - found.delta(module).dense()).norm()
        assert best * (1 - 1e-9) <= got <= best * (1 + 1e-3), module
        assert found.approximation_error(module) == pytest.approx(float(got / exact.norm()), rel=1e-6)
        assert found.delta(module).rank == found.modules[module].rank == rank


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    rows=st.integers(1, 90),
    columns=st.integers(1, 90),
    true_rank=st.integers(1, 12),
    more=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_what_has_no_more_than_the_rank_comes_out_exactly(
    dtype: torch.dtype, rows: int, columns: int, true_rank: int, more: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(rows, true_rank, generator=generator, dtype=dtype)
    matrix = left @ torch.randn(true_rank, columns, generator=generator, dtype=dtype)
    found = randomised_svd(matrix, true_rank + more, generator=generator_for(seed, "a"), oversampling=4)
    assert len(found.s) == min(true_rank + more, rows, columns)
    error = ((found.u * found.s.to(dtype)) @ found.vt - matrix).norm() / matrix.norm()
    assert error < 50 * torch.finfo(dtype).eps
    k = torch.eye(len(found.s), dtype=dtype)
    assert torch.allclose(found.u.T @ found.u, k, atol=1e-4 if dtype == torch.float32 else 1e-10)
    assert torch.allclose(found.vt @ found.vt.T, k, atol=1e-4 if dtype == torch.float32 else 1e-10)
    assert bool((found.s.diff() <= 0).all())


@pytest.mark.parametrize("rank", [16, 40])
def test_of_16_bit_bases_it_is_the_difference_projected_on_its_own_columns(rank: int, write: Write) -> None:
    base = random_base(1)
    found = Difference(
        (
            (1.0, write("tuned.safetensors", {m: t.half() for m, t in tuned(base).items()})),
            (-1.0, write("base.safetensors", {m: t.half() for m, t in base.items()})),
        )
    )
    extracted = extract(found, rank=rank)
    for module in (CONV, PROJECTION):
        whole, delta = found.delta(module).dense(), extracted.delta(module).dense()
        factors = extracted.delta(module).low_rank()
        assert factors is not None
        columns = torch.linalg.qr(factors.matrices()[0]).Q
        assert (delta - columns @ (columns.T @ whole)).norm() <= 6e-8 * whole.norm()


def test_signs_are_the_same_however_it_was_computed() -> None:
    matrix = with_spectrum(200, 150, decaying("geometric", 60))
    sampled = randomised_svd(matrix, 5, generator=generator_for(0, "a"))
    exact = randomised_svd(matrix, 5, generator=generator_for(0, "a"), oversampling=150)
    assert bool(((sampled.u * exact.u).sum(0) > 0.999).all())
    assert bool(((sampled.vt * exact.vt).sum(1) > 0.999).all())
    assert bool((exact.u.gather(0, exact.u.abs().argmax(0, keepdim=True)) > 0).all())


@pytest.mark.parametrize(("oversampling", "power_iterations"), [(0, 2), (16, 0)])
def test_oversampling_and_power_iterations_each_bring_it_nearer(oversampling: int, power_iterations: int) -> None:
    matrix = with_spectrum(300, 280, decaying("slow", 250))
    best = torch.linalg.svdvals(matrix)[10:].norm()

    def excess(**options: int) -> float:
        found = randomised_svd(matrix, 10, generator=generator_for(0, "a"), **options)
        return float((matrix - (found.u * found.s) @ found.vt).norm() / best) - 1

    less = excess(oversampling=oversampling, power_iterations=power_iterations)
    assert 0 <= excess() < less / 2


@pytest.mark.parametrize(
    ("options", "allowed"), [({"energy": 0.9}, 0.1), ({"error": 0.1}, 0.01), ({"error": 1e-3}, 1e-6)]
)
def test_the_least_rank_is_taken_that_keeps_what_is_asked_for(
    options: dict[str, float], allowed: float, write: Write
) -> None:
    base = random_base(0)
    after = tuned(base)
    found = extract(Difference(((1.0, write("a", after)), (-1.0, write("b", base)))), **options)
    for module in (CONV, PROJECTION):
        values = torch.linalg.svdvals((after[module] - base[module]).reshape(shape_of(module)[0], -1)) ** 2
        left = 1 - values.cumsum(0) / values.sum()
        best = int((left > allowed).sum()) + 1
        rank = found.modules[module].rank
        assert best <= rank <= best + 1
        assert found.approximation_error(module) ** 2 <= allowed * (1 + 1e-6)
        assert found.delta(module).rank == rank


def test_modules_that_do_not_differ_are_no_part_of_it_and_biases_are_kept_whole(write: Write) -> None:
    base = random_base(0)
    after = tuned(base)
    difference = Difference(((1.0, write("a", after)), (-1.0, write("b", base))))
    found = extract(difference, rank=4)
    assert found.modules.keys() == {CONV, BIAS, PROJECTION}
    assert isinstance(found.delta(CONV), LowRank)
    assert found.delta(CONV).up.shape == (120, 4, 1, 1)
    assert found.delta(CONV).down.shape == (4, 16, 3, 3)
    assert isinstance(found.delta(BIAS), Dense)
    assert torch.allclose(found.delta(BIAS).dense(), torch.ones(120, 1, dtype=torch.float64))
    assert found.approximation_error(BIAS) == 0
    without = extract(difference, rank=4, channels=False)
    assert without.modules.keys() == {CONV, PROJECTION}
    assert without.left_out == (BIAS,)
    assert without.content != found.content


def test_the_bits_do_not_depend_on_order_threads_or_how_often_it_is_asked(write: Write) -> None:
    base = random_base(0, torch.float16)
    difference = Difference(((1.0, write("a", tuned(base))), (-1.0, write("b", base))))
    first, second = (
        extract(difference, rank=6, resources=Resources(workers=1)),
        extract(difference, rank=6, resources=Resources(workers=3)),
    )
    other = extract(difference, rank=6, seed=7)
    before = torch.get_num_threads()
    with ThreadPoolExecutor(3) as pool:
        deltas = list(pool.map(second.delta, [PROJECTION, CONV, PROJECTION]))
    assert torch.get_num_threads() == before
    for delta, module in zip(deltas, (PROJECTION, CONV, PROJECTION), strict=True):
        assert torch.equal(first.delta(module).up, delta.up)
        assert torch.equal(first.delta(module).down, delta.down)
    assert first.content == second.content != other.content
    assert not torch.equal(first.delta(CONV).up, other.delta(CONV).up)


def test_what_was_extracted_baked_into_the_base_is_the_tuned_one(write: Write, tmp_path: Path) -> None:
    base = {m: t.half() for m, t in random_base(0).items()}
    after = {m: t.half() for m, t in tuned(base).items()}
    original = write("b", base)
    found = extract(Difference(((1.0, write("a", after)), (-1.0, original))), error=1e-6)
    bake([(1.0, original)], found, tmp_path / "again")
    again = open_weights(tmp_path / "again", TABLE)
    for module, tensor in after.items():
        assert torch.allclose(again.weight(module).reshape(tensor.shape), tensor, rtol=1e-5, atol=1e-6), module


def test_a_component_that_one_base_lacks_is_left_out_by_name(write: Write) -> None:
    whole, unet = random_base(0), {m: t for m, t in random_base(1).items() if m.startswith("unet.")}
    difference = Difference(((1.0, write("a", unet)), (-1.0, write("b", whole))))
    assert difference.left_out == ("text_encoder",)
    assert extract(difference, rank=1).left_out == ("text_encoder",)
    cut = {m: t for m, t in random_base(1).items() if m != PROJECTION}
    with pytest.raises(MissingModule, match=PROJECTION):
        Difference(((1.0, write("c", cut)), (-1.0, write("d", whole))))


def test_what_makes_no_difference_is_refused(write: Write) -> None:
    a, b = write("a", random_base(0)), write("b", random_base(1))
    for terms in (((1.0, a), (-0.5, b)), ((1.0, a),), ((0.0, a),)):
        with pytest.raises(AlgebraError, match="expected 0 for a vector"):
            Difference(terms)
    with pytest.raises(AlgebraError, match="do not differ"):
        extract(Difference(((1.0, a), (-1.0, a))), rank=2)
    difference = Difference(((1.0, a), (-1.0, b)))
    for options in ({}, {"rank": 1, "energy": 0.5}, {"rank": 0}, {"energy": 1.0}, {"error": 0.0}):
        with pytest.raises(AlgebraError, match="extract: "):
            extract(difference, **options)
    other = open_weights(a.path, Architecture("other", {CONV: TABLE.modules[CONV]}))
    with pytest.raises(AlgebraError, match="different module tables"):
        Difference(((1.0, a), (-1.0, other)))


def test_extracting_can_be_stopped(write: Write) -> None:
    difference = Difference(((1.0, write("a", random_base(0))), (-1.0, write("b", random_base(1)))))
    with pytest.raises(Cancelled, match="extracting: stopped after 1 of 4"):
        extract(difference, rank=2, cancelled=lambda: True)


def test_a_spool_gives_back_what_it_was_given_first(tmp_path: Path) -> None:
    spool = Spool()
    tensors = {name: [torch.randn(3, 2).half(), torch.empty(0, 4), torch.randn(5).double()] for name in "abc"}
    for name, own in tensors.items():
        spool.put(name, own)
    spool.put("a", tensors["b"])
    assert "c" in spool
    assert "d" not in spool
    for name, own in tensors.items():
        assert all(torch.equal(got, kept) for got, kept in zip(spool.get(name), own, strict=True))
