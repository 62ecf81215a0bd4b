"""Compositions: stages and tools written into the recipe, registered with their proof, proved again, and stopped."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from arithmetic import BoundExceeded, Cancelled, Certificate, RecipeError, Resources, ValidationRefused
from registry import Registry
from workbench.errors import NotCertified, UnsupportedRecipe
from workbench.recipes.resolving import stages_of
from workbench.sums.composing import compose
from workbench.sums.measuring import recorded_measures
from workbench.sums.verifying import verify


@pytest.fixture
def pair(stocked: Registry, lora: object, tmp_path: Path) -> Registry:
    """The style `soft` and another one, `hard`."""
    (tmp_path / "hard.safetensors").write_bytes(lora(7))
    stocked.add(tmp_path / "hard.safetensors", kind="style", name="hard")
    return stocked


def ranks(path: Path) -> set[int]:
    """Of all modules of a kohya file."""
    return {tensor.shape[0] for key, tensor in load_file(path).items() if key.endswith("lora_down.weight")}


def test_stages_are_part_of_the_recipe_and_of_the_file(pair: Registry) -> None:
    made = compose(pair, "soft + 0.5*hard", stages=stages_of(rank=3, dtype="fp16"), name="lowered")
    assert made.report.recipe == "soft + 0.5*hard | rank(3) | dtype(fp16)"
    assert ranks(made.path) == {3}
    assert made.certificate.dtype == "fp16"
    assert made.certificate.worst_approximation_error > 0.01
    assert ranks(compose(pair, "soft + 0.5*hard", name="exact").path) == {4}
    assert isinstance(verify(pair, "lowered"), Certificate)
    with pytest.raises(RecipeError, match="dtype"):
        compose(pair, "soft + hard | dtype(bf16)", stages=stages_of(dtype="fp16"))


def test_stages_inside_parentheses_are_kept(pair: Registry) -> None:
    made = compose(pair, "(soft + hard | rank(1)) + 0.5*hard", name="inner")
    assert ranks(made.path) == {3}
    assert verify(pair, "inner").worst_relative_error < 1e-6


@pytest.mark.parametrize("tool", ["kohya-merge", "kohya-concat", "peft-linear", "supermerger", "supermerger-svd"])
def test_a_file_as_another_tool_makes_it_is_proved_as_that(tool: str, pair: Registry) -> None:
    made = compose(pair, "0.7*soft + 0.5*hard", tool=tool, name="theirs")
    assert made.report.recipe == f"{tool}(0.7*soft, 0.5*hard)"
    assert verify(pair, "theirs").worst_relative_error < 1e-6
    with pytest.raises(UnsupportedRecipe, match="expected one of"):
        compose(pair, "soft + hard", tool="abacus")


def test_with_a_base_in_the_recipe_the_tool_sums_the_vectors_alone(pair: Registry) -> None:
    made = compose(pair, "tiny + 0.7*soft + hard", tool="kohya-concat", name="theirs")
    assert made.report.recipe == "tiny + kohya-concat(0.7*soft, hard)"


def test_any_tools_file_is_proved_by_a_recipe_and_not_by_another(pair: Registry, tmp_path: Path) -> None:
    made = compose(pair, "0.7*soft + hard", out=tmp_path / "sum.safetensors")
    save_file(load_file(made.path), tmp_path / "plain.safetensors")
    plain = str(tmp_path / "plain.safetensors")
    with pytest.raises(NotCertified):
        verify(pair, plain)
    assert verify(pair, plain, recipe="0.7*soft + hard").modules == made.certificate.modules
    with pytest.raises(BoundExceeded):
        verify(pair, plain, recipe="0.8*soft + hard")
    lowered = compose(pair, "0.7*soft + hard | rank(2)", out=tmp_path / "lowered.safetensors")
    save_file(load_file(lowered.path), tmp_path / "plain.safetensors")
    proof = verify(pair, plain, recipe="0.7*soft + hard | rank(2)")
    assert proof.approximations == lowered.certificate.approximations
    with pytest.raises(BoundExceeded):
        verify(pair, plain, recipe="0.7*soft + hard")


def test_inputs_of_methods_are_edges_and_the_result_is_measured(pair: Registry) -> None:
    made = compose(pair, "ties(0.6*soft, hard; density=0.5) | rank(4)", name="tied")
    assert made.version is not None
    edges = {(edge.parent, edge.relation, edge.weight) for edge in pair.lineage("tied").edges}
    assert {("soft:1", "composed_from", 0.6), ("hard:1", "composed_from", 1.0)} <= edges
    assert recorded_measures(pair, made.version) is not None


def test_resources_change_no_bit(pair: Registry, tmp_path: Path) -> None:
    digests = {
        compose(
            pair,
            "soft + hard | rank(2)",
            out=tmp_path / f"{workers}.safetensors",
            resources=Resources("cpu", workers, 1 << 20),
        ).certificate.file_sha256
        for workers in (1, 3)
    }
    assert len(digests) == 1


def test_a_refused_or_cancelled_composition_leaves_nothing(pair: Registry, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir()), [version.ref for version in pair.search()]
    with pytest.raises(ValidationRefused):
        compose(pair, "ties(soft, hard)", out=tmp_path / "out.safetensors", name="never")
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        compose(pair, "soft + hard", out=tmp_path / "out.safetensors", cancelled=lambda: next(asked) > 2)
    assert (sorted(tmp_path.iterdir()), [version.ref for version in pair.search()]) == before


def test_cancelling_a_proof_is_told(pair: Registry, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    compose(pair, "soft + hard", out=out)
    steps: list[tuple[int, int]] = []
    verify(pair, str(out), progress=lambda *step: steps.append(step))
    assert steps[-1] == (3, 3)
    with pytest.raises(Cancelled):
        verify(pair, str(out), cancelled=lambda: True)
