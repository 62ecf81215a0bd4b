"""What is painted is what would be written: a recipe's preview is the preview of its composed file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from arithmetic import NotAttachable
from workbench.errors import UnsupportedRecipe
from workbench.intake.importing import import_file
from workbench.painting.previewing import Preview, preview
from workbench.sums.composing import compose

CIRCLE = ["a large red circle on a white background"]


def shown(gallery: Any, recipe: str, **settings: Any) -> Preview:
    """One picture of a recipe."""
    chosen = {"solver": "ddim", "steps": 2, "guidance": 2.0} | settings
    return preview(gallery.registry, recipe, CIRCLE, **chosen)


def pixels(preview: Preview) -> NDArray[np.int64]:
    """(height, width, 3) from 0 to 255."""
    return np.asarray(preview.images[0], dtype=np.int64)


def hadamard(gallery: Any) -> Path:
    """A LoHa file of rank 2 * 2."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, (out, inside) in gallery.shapes("attn1.to_q", "attn2.to_k").items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        for side in ("w1", "w2"):
            tensors[f"{stem}.hada_{side}_a"] = torch.randn(out, 2, generator=generator)
            tensors[f"{stem}.hada_{side}_b"] = 0.5 * torch.randn(2, inside, generator=generator)
        tensors[f"{stem}.alpha"] = torch.tensor(1.0)
    save_file(tensors, gallery.files / "hada.safetensors")
    return Path(gallery.files / "hada.safetensors")


@pytest.mark.parametrize(
    ("recipe", "plain"),
    [
        ("soft{unet.down: 0, else: 1.5} + 0.5*fast", "soft + 0.5*fast"),
        ("0.8*soft{/to_q$/: 0.25} + soft", "0.8*soft + soft"),
        ("soft + 0.5*fast | rank(1)", "soft + 0.5*fast"),
        ("(soft - fast | rank(2)) + 0.5*fast", "soft - 0.5*fast"),
        ("0.5*(soft - fast) + fast", "soft + fast"),
        ("ties(0.9*soft, fast; density=0.4) | rank(4)", "0.9*soft + fast"),
        ("kohya-merge(0.7*soft, fast)", "0.7*soft + fast"),
        ("0.7*HADA + soft", "soft"),
    ],
)
def test_the_preview_of_a_recipe_is_the_preview_of_its_composed_file(recipe: str, plain: str, gallery: Any) -> None:
    recipe = recipe.replace("HADA", str(hadamard(gallery)))
    compose(gallery.registry, recipe, name="whole")
    painted, written = pixels(shown(gallery, recipe)), pixels(shown(gallery, "whole"))
    assert np.abs(painted - written).max() <= 1
    assert np.abs(painted - pixels(shown(gallery, plain))).max() > 10


def test_the_runtime_factors_of_a_recipe_give_its_files_latents(gallery: Any) -> None:
    from arithmetic import attachments
    from sampling import Settings, attach, denoise, detach, load_pipeline, set_strengths
    from workbench.recipes.resolving import resolve_recipe

    recipe = "0.5*soft{unet.up: 0.5} + ties(soft, fast; density=0.5) | rank(4)"
    compose(gallery.registry, recipe, name="whole")
    pipe, latents = load_pipeline(gallery.base), []
    for text in (recipe, "whole"):
        terms = attachments(resolve_recipe(gallery.registry, text).combination)
        attach(pipe, {term.name: term.source for term in terms})
        set_strengths(pipe, {term.name: term.strength for term in terms})
        latents.append(denoise(pipe, CIRCLE, [3], Settings("ddim", 2, 2.0)))
        detach(pipe)
    torch.testing.assert_close(*latents, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("ties(soft, fast)", r"is kept as a matrix.*\| rank\(64\)\), or bake"),
        ("0.5*(ties(soft, fast) + soft)", r"is kept as a matrix.*\| rank\(64\)\), or bake"),
        ("extract(other - shapes; rank=4)", r"a bias or normalisation.*Bake the recipe"),
    ],
)
def test_what_only_the_bases_own_weights_could_hold_is_refused(recipe: str, words: str, gallery: Any) -> None:
    _import_other(gallery)
    with pytest.raises(NotAttachable, match=words):
        shown(gallery, recipe, base="shapes")


def test_an_extraction_without_biases_is_painted_and_its_bases_are_in_the_record(gallery: Any) -> None:
    _import_other(gallery)
    recipe = "0.5*extract(other - shapes; rank=4, channels=false) + soft"
    painted = shown(gallery, recipe, base="shapes")
    compose(gallery.registry, recipe, name="whole", base="shapes")
    assert np.abs(pixels(painted) - pixels(shown(gallery, "whole", base="shapes"))).max() <= 1
    named = [(one["name"], one["weight"]) for one in painted.record["inputs"]]
    assert named == [("other:1", 0.5), ("shapes:1", -0.5), ("soft:1", 1.0)]


def test_a_sum_of_bases_is_to_be_baked_first(gallery: Any) -> None:
    _import_other(gallery)
    with pytest.raises(UnsupportedRecipe, match="bake it"):
        shown(gallery, "0.5*shapes + 0.5*other + soft")


def test_the_inputs_of_a_method_are_in_the_record(gallery: Any) -> None:
    painted = shown(gallery, "ties(0.5*soft, fast) | rank(2)")
    assert [(one["name"], one["weight"]) for one in painted.record["inputs"]] == [("soft:1", 0.5), ("fast:1", 1.0)]


def test_settings_that_a_vector_is_not_made_for_are_told_and_painted_all_the_same(gallery: Any) -> None:
    fast = gallery.registry.get("fast")
    gallery.registry.edit(fast.ref, changes={"sampling": {"solver": "lcm", "steps": [4]}})
    found = [finding.sentence for finding in shown(gallery, "soft + fast").findings]
    assert "fast:1 is made for solver lcm, not ddim; 4 steps, not 2." in found
    suited = shown(gallery, "soft + fast", solver="lcm", steps=4, guidance=1.0)
    assert "sampling-constraints" not in [finding.code for finding in suited.findings]


def test_a_base_alone_and_a_vector_at_strength_zero_paint_the_same(gallery: Any) -> None:
    assert np.array_equal(pixels(shown(gallery, "shapes")), pixels(shown(gallery, "shapes + 0*soft")))


def _import_other(gallery: Any) -> None:
    """Another base: `shapes` with every weight a little changed."""
    import shutil

    from safetensors.torch import load_file

    folder = gallery.files / "other"
    shutil.copytree(gallery.base, folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    generator = torch.Generator().manual_seed(9)
    save_file({k: t + 0.02 * torch.randn(t.shape, generator=generator) for k, t in load_file(path).items()}, path)
    import_file(gallery.registry, folder, name="other")
