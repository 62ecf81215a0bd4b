"""Grids: planned from two axes, painted once, each cell the picture that a preview of it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sampling import Cancelled
from sampling.errors import UnknownSolver
from workbench.errors import InvalidAxis, InvalidSettings, UnknownInRecipe
from workbench.grids.axes import Axis
from workbench.grids.cells import stored_preview
from workbench.grids.painting import paint_cells, plan_cells, steps_left
from workbench.grids.planning import GridPlan, painted_cells, plan_grid
from workbench.intake.importing import import_file
from workbench.painting.plans import plan_base
from workbench.painting.previewing import preview
from workbench.painting.profiles import Sampling

CIRCLE, SQUARE = "a large red circle on a white background", "a small blue square on a black background"
QUICK = Sampling(solver="ddim", steps=2, guidance=2.0, spacing="trailing", eta=0.0)
RECIPE = "0.8*soft + 0.5*fast"


def planned(gallery: Any, *axes: str, text: str = RECIPE, **given: Any) -> GridPlan:
    """A quick grid of one prompt, where nothing else is said."""
    x, y = Axis.parse(axes[0]), Axis.parse(axes[1]) if len(axes) > 1 else None
    return plan_grid(gallery.registry, text, x=x, y=y, **{"prompts": (CIRCLE,), "sampling": QUICK, **given})


def pixels(path: Path) -> NDArray[np.int64]:
    return np.asarray(Image.open(path), dtype=np.int64)


def picture_of(gallery: Any, plan: GridPlan, row: int, column: int, panel: int = 0) -> NDArray[np.int64]:
    """The pixels that the registry keeps of a cell."""
    kept = painted_cells(gallery.registry, plan)[plan.cell(row, column, panel).key]
    return pixels(gallery.registry.blob_path(kept.picture))


def test_cells_go_row_by_row_and_say_what_each_paints(gallery: Any) -> None:
    plan = planned(gallery, "soft=0,0.5,1", "fast=0.25,0.75")
    assert [(cell.row, cell.column) for cell in plan.cells] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert plan.cell(1, 2).recipe == "soft + 0.75*fast"
    assert plan.cell(1, 2).pinned == "soft:1 + 0.75*fast:1"
    assert plan.cell(0, 0).recipe == "0*soft + 0.25*fast"
    assert len(set(plan.keys)) == 6
    assert {cell.base for cell in plan.cells} == {"shapes:1"}


def test_a_plan_is_written_and_read_as_the_same_and_refuses_what_it_does_not_know(gallery: Any) -> None:
    plan = planned(gallery, "soft=0,1", "seed=1,2")
    assert GridPlan.from_json(plan.to_json()) == plan
    with pytest.raises(InvalidSettings, match="colour"):
        GridPlan.from_json({**plan.to_json(), "colour": "red"})
    older = plan.to_json()
    del older["cells"][0]["sampling"]["negative"]
    assert GridPlan.from_json(older) == plan
    odd = plan.to_json()
    odd["cells"][0]["sampling"]["speed"] = 1
    with pytest.raises(InvalidSettings, match="speed"):
        GridPlan.from_json(odd)


@pytest.mark.parametrize(
    ("axis", "given"),
    [
        ("soft{unet.down}=0,1", {"text": "soft{unet.down: 0.5}"}),
        ("steps=1,2", {}),
        ("solver=ddim,lcm", {}),
        ("guidance=1,3", {}),
        ("seed=3,4", {}),
        (f"prompt={CIRCLE},{SQUARE}", {"prompts": ()}),
        ("recipe=soft,fast", {"text": ""}),
    ],
)
def test_every_axis_changes_the_picture_and_each_cell_is_the_preview_of_its_own(
    gallery: Any, axis: str, given: dict[str, Any]
) -> None:
    plan = planned(gallery, axis, **given)
    paint_cells(gallery.registry, plan.cells)
    first, second = (picture_of(gallery, plan, 0, column) for column in (0, 1))
    assert not np.array_equal(first, second)
    for cell, painted in zip(plan.cells, (first, second), strict=True):
        alone = preview(
            gallery.registry, cell.pinned, [cell.prompt], base=cell.base, seeds=(cell.seed,), sampling=cell.sampling
        )
        assert np.abs(np.asarray(alone.images[0], dtype=np.int64) - painted).max() <= 1


def test_prompts_and_seeds_that_no_axis_has_make_a_panel_each(gallery: Any) -> None:
    plan = planned(gallery, "soft=0,1", prompts=(CIRCLE, SQUARE), seeds=(1, 2))
    assert [(panel.prompt, panel.seed) for panel in plan.panels] == [(p, s) for p in (CIRCLE, SQUARE) for s in (1, 2)]
    assert (plan.cell(0, 1, panel=2).prompt, plan.cell(0, 1, panel=2).seed) == (SQUARE, 1)
    assert len(plan.cells) == 8


def test_a_strength_is_painted_as_one_batch(gallery: Any) -> None:
    plan, steps = planned(gallery, "soft=0,1", "seed=1,2,3"), []
    done = paint_cells(gallery.registry, plan.cells, on_step=lambda *step: steps.append(step))
    assert (done.cells, done.painted, done.evaluations) == (6, 6, 24)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_is_left_is_foreseen_over_all_its_bases(gallery: Any, write_checkpoint: Any, tmp_path: Path) -> None:
    import_file(gallery.registry, write_checkpoint(gallery.base, tmp_path / "merged.safetensors"), name="merged")

    def grid(seeds: str) -> GridPlan:
        return planned(gallery, "recipe=shapes + soft,merged + soft", seeds, text="")

    plan = grid("seed=1,2")
    first = plan_cells(gallery.registry, plan.cells)
    assert first is not None
    assert (first.pictures, first.seconds, first.size) == (4, None, (64, 64))
    paint_cells(gallery.registry, plan.cells)
    assert plan_cells(gallery.registry, plan.cells) is None
    wider = plan_cells(gallery.registry, grid("seed=1,2,3").cells)
    assert wider is not None
    alone = [plan_base(gallery.registry, gallery.registry.get(name), [QUICK], 1) for name in ("shapes", "merged")]
    assert (wider.pictures, wider.needed_bytes) == (2, max(one.needed_bytes for one in alone))
    assert wider.seconds == pytest.approx(sum(one.seconds or 0.0 for one in alone))
    assert wider.seconds


def test_a_new_column_computes_only_itself(gallery: Any) -> None:
    before, kept = planned(gallery, "soft=0,1", "fast=0,1"), []
    paint_cells(gallery.registry, before.cells)
    after = planned(gallery, "soft=0,0.5,1", "fast=0,1")
    assert steps_left(gallery.registry, after.cells) == 2 * QUICK.steps
    done = paint_cells(gallery.registry, after.cells, on_cell=lambda cell, _: kept.append(cell.column))
    assert (done.painted, kept) == (2, [1, 1])
    assert set(painted_cells(gallery.registry, after)) == set(after.keys)
    assert paint_cells(gallery.registry, after.cells).painted == 0
    assert paint_cells(gallery.registry, before.cells[:1], anew=True).painted == 1


def test_a_preview_is_a_cell_that_is_painted_already(gallery: Any) -> None:
    plan = planned(gallery, "soft=0.8")
    assert stored_preview(gallery.registry, RECIPE, CIRCLE, sampling=QUICK) is None
    painted = preview(gallery.registry, RECIPE, [CIRCLE], sampling=QUICK)
    kept = stored_preview(gallery.registry, RECIPE, CIRCLE, sampling=QUICK)
    assert kept is not None
    assert (kept.key, kept.picture) == (plan.cells[0].key, painted.digests[0])
    assert paint_cells(gallery.registry, plan.cells).painted == 0
    assert stored_preview(gallery.registry, RECIPE, CIRCLE, sampling=QUICK, seed=1) is None
    assert stored_preview(gallery.registry, RECIPE, SQUARE, sampling=QUICK) is None
    assert stored_preview(gallery.registry, RECIPE, CIRCLE) is None


def test_what_was_finished_stays_when_a_grid_is_cancelled_within_a_step(gallery: Any) -> None:
    plan, steps = planned(gallery, "soft=0,0.5,1"), []

    def stop() -> str | None:
        return "enough" if len(steps) >= 3 else None

    with pytest.raises(Cancelled, match="enough"):
        paint_cells(gallery.registry, plan.cells, on_step=lambda *s: steps.append(s), cancelled=stop)
    assert steps == [(1, 6), (2, 6), (3, 6)]
    assert set(painted_cells(gallery.registry, plan)) == {plan.cells[0].key}


def test_a_plan_of_other_software_is_refused(gallery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sampling import software

    plan = planned(gallery, "soft=0,1")
    monkeypatch.setattr(software, "DECIDING", ("numpy",))
    software.software.cache_clear()
    try:
        with pytest.raises(InvalidSettings, match="other versions"):
            paint_cells(gallery.registry, plan.cells)
    finally:
        software.software.cache_clear()


def refusals() -> list[tuple[type[Exception], str, Callable[[Any], GridPlan]]]:
    return [
        (InvalidAxis, "both soft", lambda g: planned(g, "soft=0,1", "soft=0,1")),
        (InvalidAxis, "a prompt is named beside it", lambda g: planned(g, "prompt=a,b")),
        (InvalidAxis, "none is named", lambda g: planned(g, "soft=0,1", prompts=())),
        (InvalidAxis, "a recipe is named beside it", lambda g: planned(g, "recipe=soft,fast")),
        (InvalidAxis, "a seed is named beside it", lambda g: planned(g, "seed=1,2", seeds=(5,))),
        (InvalidAxis, "a recipe, and none is named", lambda g: planned(g, "soft=0,1", text=" ")),
        (InvalidAxis, "did you mean soft", lambda g: planned(g, "sofd=0,1")),
        (InvalidAxis, "it is the base", lambda g: planned(g, "shapes=0,1", text="shapes + soft")),
        (InvalidAxis, "40000 cells", lambda g: planned(g, "soft=0:1:200", "fast=0:1:200")),
        (UnknownSolver, "did you mean", lambda g: planned(g, "solver=ddin")),
        (UnknownInRecipe, "nothing", lambda g: planned(g, "recipe=nothing", text="")),
    ]


@pytest.mark.parametrize(("error", "complaint", "ask"), refusals())
def test_what_makes_no_grid_is_refused_before_anything_is_painted(
    gallery: Any, error: type[Exception], complaint: str, ask: Callable[[Any], GridPlan]
) -> None:
    with pytest.raises(error, match=f"(?i){complaint}"):
        ask(gallery)
