"""Recipes: their references, their base, their locked form."""

from pathlib import Path

import pytest

from arithmetic import BindingRefused, RecipeError
from arithmetic.files.attachment import attachments
from registry import Registry
from workbench.errors import BaseUndecided, NotABase, NotAVector, UnknownInRecipe
from workbench.intake.importing import import_file
from workbench.recipes.resolving import resolve_recipe, stages_of, with_stages


def test_the_only_base_of_the_family_is_taken(stocked: Registry) -> None:
    assert resolve_recipe(stocked, "soft").base.ref == "tiny:1"


def test_the_base_in_the_recipe_comes_before_the_only_one_and_is_no_term(stocked: Registry, base_folder: Path) -> None:
    import_file(stocked, base_folder, name="twin")
    resolved = resolve_recipe(stocked, "twin + 0.5*soft")
    assert resolved.base.ref == "twin:1"
    assert [(weight, version.ref) for weight, _, version in resolved.vectors] == [(0.5, "soft:1")]


def test_the_base_that_is_named_comes_before_the_only_one(stocked: Registry, base_folder: Path) -> None:
    import_file(stocked, base_folder, name="twin")
    assert resolve_recipe(stocked, "soft", "twin").base.ref == "twin:1"


def test_no_base_is_guessed_between_two(stocked: Registry, base_folder: Path) -> None:
    import_file(stocked, base_folder, name="twin")
    assert resolve_recipe(stocked, "soft").base is None
    with pytest.raises(BaseUndecided) as refusal:
        _ = resolve_recipe(stocked, "soft").required_base
    assert refusal.value.candidates == ("tiny:1", "twin:1")


def test_a_base_is_named_once_with_weight_one(stocked: Registry) -> None:
    for text in ("0.5*tiny + soft", "tiny + tiny + soft", "soft - tiny"):
        with pytest.raises(BindingRefused, match="add up to"):
            resolve_recipe(stocked, text)
    assert resolve_recipe(stocked, "tiny + soft", "tiny:1").base.ref == "tiny:1"


def test_a_vector_is_no_base_and_a_folder_must_be_imported_first(stocked: Registry, base_folder: Path) -> None:
    with pytest.raises(NotABase, match="tau ls --kind base"):
        resolve_recipe(stocked, "soft", "fast")
    with pytest.raises(NotABase, match="tau import"):
        _ = resolve_recipe(stocked, f"{base_folder} + soft").required_base


def test_the_locked_recipe_means_the_same_after_new_versions_and_aliases(stocked: Registry) -> None:
    resolved = resolve_recipe(stocked, "0.8*soft - 0.3*fast")
    again = resolve_recipe(stocked, str(resolved.locked))
    assert again.locked == resolved.locked
    assert [vector.sha256 for _, vector, _ in again.vectors] == [vector.sha256 for _, vector, _ in resolved.vectors]


def test_strengths_of_a_vector_that_stands_twice_add_up_as_decimals(stocked: Registry) -> None:
    attached = attachments(resolve_recipe(stocked, "0.1*soft + 0.2*soft:1").combination)
    assert {one.name: one.strength for one in attached} == {"soft:1": 0.3}


def test_a_recipe_is_a_version_only_as_it_stands(stocked: Registry) -> None:
    assert resolve_recipe(stocked, "soft").sole_version.ref == "soft:1"
    assert resolve_recipe(stocked, "tiny").sole_version.ref == "tiny:1"
    assert resolve_recipe(stocked, "0.5*soft").sole_version is None
    assert resolve_recipe(stocked, "soft + fast").sole_version is None


def test_an_unknown_name_is_underlined(stocked: Registry) -> None:
    with pytest.raises(UnknownInRecipe, match=r"Did you mean soft") as refusal:
        resolve_recipe(stocked, "fast + 2*sofd")
    assert str(refusal.value).endswith("  fast + 2*sofd\n           ^^^^")


def test_a_vector_that_came_before_its_base_is_found_once_the_base_is_there(
    registry: Registry, base_folder: Path, vector_file: Path
) -> None:
    registry.add(vector_file, kind="other", name="early")
    with pytest.raises(NotAVector, match="--kind base"):
        resolve_recipe(registry, "early")
    import_file(registry, base_folder, name="tiny")
    assert len(resolve_recipe(registry, "early").vectors[0].vector.modules) == 3


def test_stages_are_written_into_the_text_once() -> None:
    half = stages_of(rank=None, dtype="fp16")
    assert with_stages("soft", ()) == "soft"
    assert with_stages("soft", half) == "soft | dtype(fp16)"
    assert with_stages("soft | dtype(fp16)", half) == "soft | dtype(fp16)"
    assert with_stages("soft | dtype(fp16)", stages_of(rank=8)) == "soft | rank(8) | dtype(fp16)"
    with pytest.raises(RecipeError, match="keep one"):
        with_stages("soft | dtype(fp16)", stages_of(dtype="fp32"))
