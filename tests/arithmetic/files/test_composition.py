import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from arithmetic import (
    AlgebraError,
    BoundExceeded,
    Cancelled,
    Combination,
    OutputConflict,
    Precision,
    ValidationRefused,
    certificate_path,
    check,
    compose,
    open_vector,
)
from formats import Architecture, Layout, ModuleSpec, read_header

WRITTEN = (Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT)
PAIRS = tuple(itertools.product(WRITTEN, WRITTEN))
TEXTS = {"recipe": "0.8*a - 0.5*b", "locked": "0.8*sha256:00 - 0.5*sha256:11"}


@pytest.fixture
def combination(draft: Callable, save: Callable, table: Architecture, tmp_path: Path) -> Combination:
    """0.8 * a - 0.5 * b: mixed ranks and alphas, b lacks some modules, a PEFT folder and a kohya file."""
    (tmp_path / "inputs").mkdir()
    a = open_vector(save(draft(0), tmp_path / "inputs" / "a", Layout.PEFT), table)
    drawn = draft(1, modules=tuple(table.modules)[1::2], ranks=(2, 5), alphas=(1.0, 7.0))
    return Combination(((0.8, a), (-0.5, open_vector(save(drawn, tmp_path / "inputs" / "b"), table))))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder to write into."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def own_threads() -> Iterator[None]:
    """Restores the number of threads."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("layout", WRITTEN)
def test_a_float32_file_is_the_sum_by_an_independent_dense_computation(
    layout: Layout, combination: Combination, place: Path, read_deltas: Callable, worst_error: Callable
) -> None:
    proof = compose(combination, place / "v", layout=layout, **TEXTS)
    terms = [(weight, read_deltas(vector.path)) for weight, vector in combination.terms]
    assert worst_error(read_deltas(place / "v"), terms) < 1e-6
    assert proof.worst_relative_error < 1e-6


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("layout", WRITTEN)
def test_a_half_precision_file_is_the_sum_within_its_rounding(
    layout: Layout,
    precision: Precision,
    combination: Combination,
    place: Path,
    read_deltas: Callable,
    worst_error: Callable,
) -> None:
    proof = compose(combination, place / "v", layout=layout, dtype=precision, **TEXTS)
    terms = [(weight, read_deltas(vector.path)) for weight, vector in combination.terms]
    assert proof.dtype == precision
    assert 1e-6 < worst_error(read_deltas(place / "v"), terms) < precision.bound


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_round_trip_through_two_layouts_keeps_every_bit_of_one_rank(
    first: Layout,
    second: Layout,
    draft: Callable,
    save: Callable,
    table: Architecture,
    place: Path,
    read_deltas: Callable,
) -> None:
    """With one rank and alpha = rank there is no scale to fold, so both layouts hold the very same numbers."""
    source = open_vector(save(draft(3, ranks=(4,), alphas=(4.0,)), place / "source"), table)
    compose(Combination(((1.0, source),)), place / "first", layout=first, **TEXTS)
    between = open_vector(place / "first", table)
    compose(Combination(((1.0, between),)), place / "second", layout=second, **TEXTS)
    before, after = read_deltas(place / "source"), read_deltas(place / "second")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[module], after[module]) for module in before)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_round_trip_through_two_layouts_keeps_mixed_ranks_to_rounding(
    first: Layout,
    second: Layout,
    combination: Combination,
    table: Architecture,
    place: Path,
    read_deltas: Callable,
    worst_error: Callable,
) -> None:
    compose(combination, place / "first", layout=first, **TEXTS)
    between = open_vector(place / "first", table)
    compose(Combination(((1.0, between),)), place / "second", layout=second, **TEXTS)
    terms = [(weight, read_deltas(vector.path)) for weight, vector in combination.terms]
    assert worst_error(read_deltas(place / "second"), terms) < 1e-6


def test_a_sum_of_sums_is_the_sum(combination: Combination, table: Architecture, place: Path, read_deltas) -> None:
    (x, a), (y, b) = combination.terms
    compose(Combination(((x, a),)), place / "xa", **TEXTS)
    nested = Combination(((1.0, open_vector(place / "xa", table)), (y, b)))
    compose(nested, place / "nested", **TEXTS)
    compose(combination, place / "flat", **TEXTS)
    nested_deltas, flat = read_deltas(place / "nested"), read_deltas(place / "flat")
    for module in flat:
        np.testing.assert_allclose(nested_deltas[module], flat[module], rtol=0, atol=3e-7)


@pytest.mark.parametrize("layout", WRITTEN)
def test_two_text_encoders_are_told_apart(layout: Layout, draft: Callable, save: Callable, place: Path) -> None:
    """Their modules have the same names; ranks and alphas differ between them."""
    inner = "text_model.encoder.layers.0.self_attn.out_proj"
    names = ("unet.conv_in", f"text_encoder.{inner}", f"text_encoder_2.{inner}")
    specs = (ModuleSpec("conv", (6, 4, 3, 3)), ModuleSpec("linear", (7, 7)), ModuleSpec("linear", (9, 9)))
    xl = Architecture("tiny-xl", dict(zip(names, specs, strict=True)))
    drawn = draft(0, names, ranks=(2, 3, 5), alphas=(1.0, 2.0, 7.0), architecture=xl)
    source = open_vector(save(drawn, place / "source", Layout.DIFFUSERS), xl)
    compose(Combination(((0.5, source),)), place / "v", layout=layout, **TEXTS)
    written = open_vector(place / "v", xl)
    for module, delta in drawn.deltas().items():
        up, down = written.factors(module).matrices()
        np.testing.assert_allclose((up @ down).numpy(), 0.5 * delta, rtol=0, atol=1e-7)


def test_a_kohya_file_has_one_alpha_in_all_modules(combination: Combination, place: Path) -> None:
    compose(combination, place / "v", **TEXTS)
    alphas = {value.item() for key, value in load_file(place / "v").items() if key.endswith(".alpha")}
    assert alphas == {8.0}


def test_a_peft_folder_holds_the_factors_for_peft_and_for_diffusers(combination: Combination, place: Path) -> None:
    compose(combination, place / "v", layout=Layout.PEFT, **TEXTS)
    names = sorted(path.name for path in (place / "v").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"]
    config = json.loads((place / "v" / "adapter_config.json").read_text())
    ranks = {config["r"], *config["rank_pattern"].values()}
    stored = load_file(place / "v" / "adapter_model.safetensors")
    assert ranks == {tensor.shape[0] for key, tensor in stored.items() if "lora_A" in key}


@pytest.mark.parametrize("layout", WRITTEN)
def test_the_header_tells_where_the_file_came_from(layout: Layout, combination: Combination, place: Path) -> None:
    compose(combination, place / "v", layout=layout, metadata={"modelspec.title": "Night city"}, **TEXTS)
    metadata = read_header(open_vector(place / "v", combination.architecture).weights_path).metadata
    assert metadata["tauworks.recipe"] == TEXTS["recipe"]
    assert metadata["tauworks.locked"] == TEXTS["locked"]
    assert metadata["modelspec.title"] == "Night city"
    assert metadata["modelspec.architecture"] == "tiny/lora"
    digests = [record["sha256"] for record in json.loads(metadata["tauworks.inputs"])]
    assert digests == [vector.sha256 for _, vector in combination.terms]


@pytest.mark.parametrize("layout", WRITTEN)
@pytest.mark.usefixtures("own_threads")
def test_the_same_recipe_gives_the_same_bytes(layout: Layout, combination: Combination, place: Path) -> None:
    proofs = []
    for count, name in ((1, "one"), (2, "two")):
        torch.set_num_threads(count)
        proofs.append(compose(combination, place / name, layout=layout, **TEXTS))
    assert proofs[0].file_sha256 == proofs[1].file_sha256


@pytest.mark.parametrize("layout", WRITTEN)
@pytest.mark.parametrize("phase", ["checking", "writing", "certifying"])
def test_an_interrupt_leaves_nothing_behind(phase: str, layout: Layout, combination: Combination, place: Path) -> None:
    def interrupt(current: str, done: int, total: int) -> None:
        if current == phase and done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compose(combination, place / "v", layout=layout, progress=interrupt, **TEXTS)
    assert list(place.iterdir()) == []


def test_an_interrupt_leaves_an_earlier_file_as_it_was(combination: Combination, place: Path) -> None:
    def interrupt(current: str, done: int, total: int) -> None:
        if current == "certifying":
            raise KeyboardInterrupt

    (place / "v").write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt):
        compose(combination, place / "v", progress=interrupt, **TEXTS)
    assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [("v", b"earlier")]


def test_a_cancelled_composition_leaves_nothing_behind(combination: Combination, place: Path) -> None:
    asked = itertools.count()
    with pytest.raises(Cancelled, match="stopped after"):
        compose(combination, place / "v", cancelled=lambda: next(asked) > 12, **TEXTS)
    assert list(place.iterdir()) == []


def test_progress_runs_through_all_three_phases(combination: Combination, place: Path) -> None:
    """What is checked are the modules of every vector, what is written and certified those of the sum."""
    seen: list[tuple[str, int, int]] = []
    compose(combination, place / "v", progress=lambda *step: seen.append(step), **TEXTS)
    assert list(dict.fromkeys(phase for phase, _, _ in seen)) == ["checking", "writing", "certifying"]
    for phase in ("checking", "writing", "certifying"):
        steps = [(done, total) for current, done, total in seen if current == phase]
        assert steps == sorted(steps)
        assert steps[-1] == ((15, 15) if phase == "checking" else (10, 10))


def test_a_file_that_rounding_spoils_is_refused_and_removed(
    draft: Callable, save: Callable, table: Architecture, place: Path
) -> None:
    """Two large rank-one parts of one vector that nearly cancel: fp16 keeps none of their difference."""
    drawn = draft(0, modules=("unet.conv_in",), ranks=(2,), alphas=(2.0,))
    up, down, alpha = drawn.factors["unet.conv_in"]
    up[:, 1], down[1] = -up[:, 0], down[0] * (1 + 1e-5)
    a = open_vector(save(type(drawn)({"unet.conv_in": (up, down, alpha)}), place.parent / "a"), table)
    with pytest.raises(BoundExceeded, match="finer dtype"):
        compose(Combination(((1.0, a),)), place / "v", dtype=Precision.FP16, **TEXTS)
    assert list(place.iterdir()) == []


def test_a_refused_verdict_writes_nothing(combination: Combination, place: Path) -> None:
    (x, a), _ = combination.terms
    nothing = Combination(((x, a), (-x, a)))
    with pytest.raises(ValidationRefused, match="no-change") as caught:
        compose(nothing, place / "v", **TEXTS)
    assert caught.value.verdict.errors == check(nothing).errors
    assert list(place.iterdir()) == []


def test_a_verdict_that_was_reached_before_is_not_reached_again(combination: Combination, place: Path) -> None:
    phases: set[str] = set()
    compose(combination, place / "v", verdict=check(combination), progress=lambda phase, *_: phases.add(phase), **TEXTS)
    assert phases == {"writing", "certifying"}


def test_an_input_is_never_replaced(combination: Combination) -> None:
    (_, _), (_, b) = combination.terms
    before = b.path.read_bytes()
    with pytest.raises(OutputConflict, match="input"):
        compose(combination, b.path, **TEXTS)
    assert b.path.read_bytes() == before


@pytest.mark.parametrize("layout", WRITTEN)
def test_an_existing_folder_is_never_replaced(layout: Layout, combination: Combination, place: Path) -> None:
    (place / "v").mkdir()
    with pytest.raises(OutputConflict, match="exists"):
        compose(combination, place / "v", layout=layout, **TEXTS)


@pytest.mark.parametrize("layout", [Layout.KOHYA_SGM, Layout.COMFY])
def test_the_original_names_carry_one_alpha_as_kohyas_do(layout: Layout, combination: Combination, place: Path) -> None:
    certificate = compose(combination, place / "v", layout=layout, **TEXTS)
    written = open_vector(place / "v", combination.architecture)
    assert certificate.layout == written.layout == layout
    assert len({entry.alpha for entry in written.modules.values()}) == 1


def test_a_layout_that_is_only_read_is_refused(combination: Combination, place: Path) -> None:
    with pytest.raises(AlgebraError, match="read, not written"):
        compose(combination, place / "v", layout=Layout.DIFFUSERS_OLD, **TEXTS)
    assert list(place.iterdir()) == []


def test_the_certificate_lies_beside_its_file(combination: Combination, place: Path) -> None:
    compose(combination, place / "v.safetensors", **TEXTS)
    assert sorted(path.name for path in place.iterdir()) == ["v.safetensors", "v.safetensors.certificate.json"]
    assert certificate_path(place / "v.safetensors").is_file()
