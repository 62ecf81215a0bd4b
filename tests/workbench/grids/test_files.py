"""A grid as files: a sheet that carries it, a page that asks for nothing, tables with a row a cell."""

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sampling import read_record
from workbench.errors import InvalidSettings
from workbench.grids.axes import Axis
from workbench.grids.files import grid_csv, grid_place, grid_rows, write_grid
from workbench.grids.page import grid_html
from workbench.grids.painting import paint_cells
from workbench.grids.planning import GridPlan, plan_grid
from workbench.grids.words import axis_label, legend_of, panel_title, title_of
from workbench.painting.profiles import Sampling
from workbench.painting.recalling import recalled_grid

CIRCLE = "a large red circle on a white background"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)> & ' {{ 7*7 }}"
ONCE = Sampling(solver="ddim", steps=1)


@pytest.fixture
def grid(gallery: Any) -> Callable[..., GridPlan]:
    """grid(x, y, **given): a plan whose first row is painted."""

    def make(x: str = "soft=0,1", y: str | None = "fast=0,0.5", **given: Any) -> GridPlan:
        axes = {"x": Axis.parse(x), "y": Axis.parse(y) if y else None}
        given = {"prompts": (CIRCLE,), "sampling": ONCE, **given}
        plan = plan_grid(gallery.registry, "soft + fast", **axes, **given)
        paint_cells(gallery.registry, plan.cells[: len(plan.columns)])
        return plan

    return make


def test_a_folder_gets_all_four_files_and_a_suffix_one(gallery: Any, grid: Callable[..., GridPlan]) -> None:
    plan, out = grid(), gallery.files / "out"
    paths = write_grid(gallery.registry, plan, out)
    assert [path.name for path in paths] == ["grid.png", "grid.html", "grid.csv", "grid.json"]
    assert write_grid(gallery.registry, plan, out / "deep" / "one.csv") == (out / "deep" / "one.csv",)
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == sorted(
        ["grid.png", "grid.html", "grid.csv", "grid.json", "one.csv"]
    )
    with pytest.raises(InvalidSettings, match=r"\.png, \.html, \.csv, \.json"):
        write_grid(gallery.registry, plan, out / "grid.jpg")
    assert grid_place(gallery.registry, plan) != grid_place(gallery.registry, grid("soft=0,2"))


def test_the_sheet_carries_the_grid_and_grows_with_it(gallery: Any, grid: Callable[..., GridPlan]) -> None:
    plan = grid()
    [path] = write_grid(gallery.registry, plan, gallery.files / "grid.png")
    assert recalled_grid(path) == plan
    assert set(read_record(path)["pictures"]) == {cell.key for cell in plan.cells[:2]}
    before = size_of(path)
    paint_cells(gallery.registry, plan.cells)
    write_grid(gallery.registry, plan, path)
    assert len(read_record(path)["pictures"]) == 4
    wider = grid("soft=0,0.5,1,1.5")
    [path] = write_grid(gallery.registry, wider, gallery.files / "wider.png")
    assert size_of(path)[0] > before[0]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_the_legend_says_what_all_cells_share_and_leaves_out_what_an_axis_turns(
    grid: Callable[..., GridPlan],
) -> None:
    legend = dict(legend_of(grid()))
    assert legend["Recipe"] == "soft + fast"
    assert legend["Base"].startswith("shapes:1 sha256:")
    assert (legend["Prompt"], legend["Seed"]) == (CIRCLE, "0")
    assert legend["Painted by"] == "ddim, steps 1, guidance 1, spacing trailing"
    assert re.fullmatch(r"soft:1 sha256:[0-9a-f]{12}, fast:1 sha256:[0-9a-f]{12}", legend["Digests"])
    assert "torch" in legend["Software"]
    turned = dict(legend_of(grid("seed=1,2", "steps=1,2")))
    assert "Seed" not in turned
    assert turned["Painted by"] == "ddim, guidance 1, spacing trailing"


def test_labels_are_understood_without_the_legend(grid: Callable[..., GridPlan]) -> None:
    plan = grid(prompts=(CIRCLE, "a cross"), seeds=(1,))
    assert title_of(plan) == "soft strength across, fast strength down"
    assert [axis_label(plan.x, value) for value in plan.columns] == ["soft 0", "soft 1"]
    assert [panel_title(plan, panel) for panel in plan.panels] == [CIRCLE, "a cross"]
    alone = grid("prompt=a cross,a circle", None, prompts=())
    assert axis_label(alone.x, "a cross") == "a cross"
    assert title_of(alone) == "prompt across"
    assert panel_title(alone, alone.panels[0]) == ""
    two = grid(seeds=(1, 2))
    assert panel_title(two, two.panels[1]) == "seed 2"


def test_the_page_asks_for_nothing_and_allows_its_own_style_and_script_alone(
    gallery: Any, grid: Callable[..., GridPlan]
) -> None:
    page = grid_html(gallery.registry, grid())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy[1] or f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,)", page)
    assert " on" + "click=" not in page
    assert page.count("data:image/png;base64,") == 2
    assert page.count("not painted") == 2


def test_the_page_says_what_was_measured_and_why_something_was_not(gallery: Any, grid: Callable[..., GridPlan]) -> None:
    plan = grid()
    measured = {"sharpness": 0.123456, "agreement": None, "agreement_why": "it has noise", "reference": "ab" * 32}
    gallery.registry.record_metrics(plan.cells[0].key, measured)
    page = grid_html(gallery.registry, plan)
    assert 'data-metrics="sharpness 0.123; it has noise"' in page
    assert page.count("data-metrics") == 4


def test_no_text_of_a_user_is_markup_on_the_page(gallery: Any, grid: Callable[..., GridPlan]) -> None:
    page = grid_html(gallery.registry, grid(prompts=(HOSTILE, CIRCLE)))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("<script>") == 1
    assert "{{ 7*7 }}" in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_tables_have_a_row_a_cell_with_what_was_measured(gallery: Any, grid: Callable[..., GridPlan]) -> None:
    plan = grid()
    gallery.registry.record_metrics(plan.cells[0].key, {"sharpness": 0.25})
    rows = grid_rows(gallery.registry, plan)
    assert [(row["x"], row["y"], row["picture"] is not None) for row in rows] == [
        (0.0, 0.0, True),
        (1.0, 0.0, True),
        (0.0, 0.5, False),
        (1.0, 0.5, False),
    ]
    table = list(csv.DictReader(io.StringIO(grid_csv(gallery.registry, plan))))
    assert [row["sharpness"] for row in table] == ["0.25", "", "", ""]
    assert (table[3]["recipe"], table[3]["solver"], table[3]["steps"]) == ("soft + 0.5*fast", "ddim", "1")
    [path] = write_grid(gallery.registry, plan, Path(gallery.files / "grid.json"))
    document = json.loads(path.read_text())
    assert (document["schema"], document["x"]["values"], len(document["cells"])) == ("tau.grid/1", [0.0, 1.0], 4)
