"""What is measured of cells: against the many-step reference, by the base's judge, by themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from demo import base_folder, style_files
from registry import Registry
from workbench.grids.axes import Axis
from workbench.grids.cells import Cell
from workbench.grids.files import grid_csv
from workbench.grids.metrics import measure_cells, reference_of, stated, why_none
from workbench.grids.painting import paint_cells
from workbench.grids.planning import GridPlan, painted_cells, plan_grid
from workbench.intake.importing import import_file
from workbench.painting.profiles import Sampling

CIRCLE = "a large red circle on a white background"


def planned(gallery: Any, x: str = "soft=1", text: str = "soft + fast", **given: Any) -> GridPlan:
    given = {"prompts": [CIRCLE], "sampling": Sampling(solver="ddim", steps=2), **given}
    return plan_grid(gallery.registry, text, x=Axis.parse(x), **given)


def test_the_reference_is_the_recipe_without_acceleration_from_the_same_noise(gallery: Any) -> None:
    gallery.registry.edit("fast", changes={"sampling": {"distilled_w": 3.0}})
    how = Sampling(solver="euler", steps=4, width=32, height=48)
    cell = planned(gallery, "soft=0.6", sampling=how).cells[0]
    found = reference_of(gallery.registry, cell)
    assert found.recipe == "0.6*soft:1"
    assert (found.prompt, found.seed, found.base) == (cell.prompt, cell.seed, cell.base)
    assert found.sampling == Sampling(solver="ddim", steps=50, guidance=4.0, width=32, height=48)


def test_the_reference_keeps_the_guidance_of_its_cell_and_may_be_the_base_alone(gallery: Any) -> None:
    how = Sampling(solver="ddim", steps=60, guidance=2.0, negative="grey")
    guided = planned(gallery, text="soft", sampling=how).cells[0]
    assert reference_of(gallery.registry, guided).sampling == how
    alone = planned(gallery, "fast=1", text="fast").cells[0]
    found = reference_of(gallery.registry, alone)
    assert (found.recipe, found.sampling.guidance) == ("shapes:1", 7.5)
    plain = planned(gallery, text="soft").cells[0]
    assert reference_of(gallery.registry, plain).sampling.guidance == 1.0


def test_only_solvers_that_inject_no_noise_have_an_endpoint(gallery: Any) -> None:
    def why(**how: Any) -> str | None:
        return why_none(planned(gallery, sampling=Sampling(**how)).cells[0])

    for noisy in ({"solver": "lcm", "steps": 4}, {"solver": "tcd", "steps": 4, "eta": 0.3}):
        assert "fresh noise" in (why(**noisy) or "")
    for quiet in ({"solver": "lcm", "steps": 1}, {"solver": "tcd", "steps": 4}, {"solver": "ddim", "steps": 4}):
        assert why(**quiet) is None


def test_a_picture_agrees_with_itself_and_less_the_fewer_steps_it_took(gallery: Any) -> None:
    plan = planned(gallery, "steps=1,5,50", text="soft", sampling=Sampling(solver="ddim", steps=2))
    paint_cells(gallery.registry, plan.cells)
    found = measure_cells(gallery.registry, plan.cells)
    agreements = [found[cell.key]["agreement"] for cell in plan.cells]
    assert agreements[2] == 1.0
    assert agreements[0] < agreements[1] < 1.0
    assert found[plan.cells[2].key]["reference"] == plan.cells[2].key


def test_what_is_measured_is_kept_with_the_picture_and_stands_in_the_table(gallery: Any) -> None:
    plan = planned(gallery, "soft=0,1", sampling=Sampling(solver="lcm", steps=2))
    paint_cells(gallery.registry, plan.cells[:1])
    found = measure_cells(gallery.registry, plan.cells)
    assert set(found) == {plan.cells[0].key}
    kept = painted_cells(gallery.registry, plan)[plan.cells[0].key].metrics
    assert kept == found[plan.cells[0].key]
    assert kept["attributes"] is None
    assert "no judge" in kept["attributes_why"]
    assert "sharpness" in grid_csv(gallery.registry, plan).splitlines()[0]


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """A CLIP of a few thousand weights, with its processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from demo.training import networks

    folder = tmp_path / "clip"
    tokenizer = networks.write_tokenizer(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**sizes, **ends, "vocab_size": len(tokenizer), "projection_dim": 8}
    vision = {**sizes, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_a_clip_that_the_user_has_scores_each_picture(gallery: Any, clip_folder: Path) -> None:
    plan = planned(gallery, sampling=Sampling(solver="lcm", steps=2))
    paint_cells(gallery.registry, plan.cells)
    assert "clip_score" not in measure_cells(gallery.registry, plan.cells)[plan.keys[0]]
    scored = measure_cells(gallery.registry, plan.cells, clip=clip_folder)[plan.keys[0]]
    assert 0 <= scored["clip_score"] <= 100
    assert painted_cells(gallery.registry, plan)[plan.keys[0]].metrics == scored


def test_only_captions_of_the_shapes_world_state_attributes() -> None:
    heads = {"size": ("small", "large"), "colour": ("red", "blue"), "style": ("glow",)}
    assert stated(CIRCLE, heads) == {"size": "large", "colour": "red"}
    assert stated("a fox", heads) == {}


@pytest.fixture
def shapes(tmp_path: Path) -> Callable[[], Registry]:
    """A registry with the base that has a judge, and a style."""

    def make() -> Registry:
        registry = Registry.open(tmp_path / "shapes")
        import_file(registry, base_folder(), name="shapes")
        style, path = next(iter(style_files().items()))
        import_file(registry, path, name=style, kind="style")
        return registry

    return make


def test_the_judge_of_the_base_reads_what_the_prompt_states(shapes: Callable[[], Registry]) -> None:
    with shapes() as registry:
        style = next(version.model for version in registry.search(kind="style"))
        plan = plan_grid(
            registry,
            style,
            prompts=[CIRCLE, "a fox"],
            x=Axis.parse(f"{style}=0"),
            sampling=Sampling(solver="lcm", steps=2),
        )
        for cell in plan.cells:
            _keep(registry, cell, (220, 30, 30))
        found = measure_cells(registry, plan.cells)
    assert found[plan.cells[0].key]["attributes"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert found[plan.cells[1].key]["attributes"] is None
    assert "no caption" in found[plan.cells[1].key]["attributes_why"]


def _keep(registry: Registry, cell: Cell, colour: tuple[int, int, int]) -> None:
    """A picture of one colour in the place of what a cell would paint."""
    from io import BytesIO

    content = BytesIO()
    Image.new("RGB", (64, 64), colour).save(content, format="PNG")
    registry.add_recipe(cell.recipe, cell.locked, "ab" * 32)
    registry.add_preview("ab" * 32, {}, content.getvalue(), {}, key=cell.key)
