"""grid, and recall with --again, on a base of the real classes with random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from typer.testing import Result

Tau = Callable[..., Result]
CIRCLE = "a large red circle on a white background"
RECIPE = "0.5*papercut + lcm"
QUICK = ("-p", CIRCLE, "--steps", 1)


def cells(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    listed: list[dict[str, Any]] = json.loads(result.stdout)["cells"]
    return listed


def test_a_grid_is_painted_once_and_written_as_files(painted: Tau, tmp_path: Path) -> None:
    axes = ("--x", "papercut=0:1:2", "--y", "lcm=0.5,1")
    first = painted("grid", RECIPE, *axes, *QUICK, "-o", tmp_path / "out", "--json")
    rows = cells(first)
    assert [(row["x"], row["y"]) for row in rows] == [(0.0, 0.5), (1.0, 0.5), (0.0, 1.0), (1.0, 1.0)]
    assert all(row["picture"] for row in rows)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"grid.{one}" for one in ("png", "html", "csv", "json")
    }
    assert "4 of 4 cells painted now" in first.stderr
    wider = painted("grid", RECIPE, "--x", "papercut=0:1:3", "--y", "lcm=0.5,1", *QUICK, "-q")
    assert "2 of 6 cells painted now" in wider.stderr
    assert [Path(line).name for line in wider.stdout.splitlines()] == ["grid.png", "grid.html", "grid.csv", "grid.json"]


def test_a_dry_run_shows_the_cells_and_paints_none(painted: Tau) -> None:
    rows = cells(painted("grid", RECIPE, "--x", "seed=1,2", "-p", CIRCLE, "--dry-run", "--json"))
    assert [(row["seed"], row["picture"]) for row in rows] == [(1, None), (2, None)]
    shown = painted("grid", RECIPE, "--x", "seed=1,2", "-p", CIRCLE, "--dry-run")
    assert shown.stdout.splitlines() == [f"0\t\t{seed}\t{RECIPE}\tno" for seed in (1, 2)]
    assert len(painted("grid", RECIPE, "--x", "seed=1,2", "-p", CIRCLE, "--dry-run", "-q").stdout.split()) == 2


def test_every_option_of_a_grid_is_another_grid(painted: Tau, tmp_path: Path) -> None:
    def key(*options: object, prompt: tuple[object, ...] = ("-p", CIRCLE)) -> str:
        listed = cells(painted("grid", RECIPE, "--x", "papercut=1", *prompt, *options, "--dry-run", "--json"))
        return str(listed[0]["key"])

    Image.new("RGB", (64, 64), (200, 10, 10)).save(tmp_path / "init.png")
    begun = ("--init", tmp_path / "init.png")
    changes: list[tuple[object, ...]] = [
        (),
        ("--steps", 2),
        ("--solver", "ddim"),
        ("--solver", "ddim", "--spacing", "leading"),
        ("--solver", "ddim", "--eta", 0.5),
        ("--guidance", 3),
        ("--guidance", 3, "--negative", "grey"),
        ("--width", 32),
        ("--height", 32),
        ("--seed", 5),
        begun,
        (*begun, "--init-strength", 0.5),
    ]
    keys = [key(*change) for change in changes] + [key(prompt=("-p", "a cross"))]
    assert len(set(keys)) == len(keys)
    assert key("--base", "shapes") == keys[0]


def test_axes_may_have_the_prompts_and_the_recipes(painted: Tau) -> None:
    rows = cells(painted("grid", "--x", "recipe=papercut,lcm", "--y", "prompt=a cross,a circle", "--dry-run", "--json"))
    assert [(row["recipe"], row["prompt"]) for row in rows] == [
        ("papercut", "a cross"),
        ("lcm", "a cross"),
        ("papercut", "a circle"),
        ("lcm", "a circle"),
    ]


def test_what_makes_no_grid_is_a_usage_error(painted: Tau) -> None:
    for axes in ((), ("--x", "papercut"), ("--x", "papercat=0,1"), ("--x", "steps=1,2", "--y", "steps=3")):
        assert painted("grid", RECIPE, *axes, "-p", CIRCLE).exit_code == 2
    assert painted("grid", RECIPE, "--x", "papercut=0,1").exit_code == 2
    assert painted("grid", RECIPE, "--x", "steps=1,2", "--steps", 3, "-p", CIRCLE).exit_code == 2


def test_metrics_are_in_the_table_where_they_are_asked_for(painted: Tau, tmp_path: Path) -> None:
    axis = ("--x", "papercut=1", "--solver", "lcm", "--steps", 2, "-p", CIRCLE)
    assert cells(painted("grid", RECIPE, *axis, "--json"))[0]["metrics"] == {}
    found = cells(painted("grid", RECIPE, *axis, "--metrics", "--json"))[0]["metrics"]
    assert found["sharpness"] > 0
    assert (found["agreement"], found["attributes"]) == (None, None)
    assert "lcm injects fresh noise" in found["agreement_why"]
    refused = painted("grid", RECIPE, *axis, "--clip", tmp_path)
    assert refused.exit_code == 1
    assert "no config.json" in refused.stderr


def test_recall_paints_again_and_says_whether_every_pixel_is_the_same(painted: Tau, tmp_path: Path) -> None:
    out = tmp_path / "one.png"
    painted("preview", RECIPE, "-p", CIRCLE, "--steps", 1, "-o", out)
    again = painted("recall", out, "--again", "-o", tmp_path / "two.png")
    assert (again.exit_code, again.stdout.strip()) == (0, "every pixel is the same")
    assert (tmp_path / "two.png").exists()
    assert painted("recall", out, "-o", tmp_path / "three.png").exit_code == 2
    _change_one_pixel(out)
    other = painted("recall", out, "--again", "--json")
    assert other.exit_code == 1
    assert json.loads(other.stdout)["pixels"] == 1


def test_recall_reads_the_sheet_of_a_grid(painted: Tau, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    painted("grid", RECIPE, "--x", "papercut=0,1", *QUICK, "--seed", 3, "-o", out)
    said = dict(line.split("\t") for line in painted("recall", out).stdout.splitlines())
    assert (said["recipe"], said["x"], said["cells"], said["seeds"]) == (RECIPE, "papercut=0,1", "2", "3")
    assert painted("recall", out, "-q").stdout.strip() == RECIPE
    assert painted("recall", out, "--again", "-q").exit_code == 0


def _change_one_pixel(path: Path) -> None:
    from sampling import read_png, save_png

    record = read_png(path)
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    red, *rest = image.getpixel((1, 1))  # type: ignore[misc]
    image.putpixel((1, 1), (255 - red, *rest))
    save_png(image, path, record)
