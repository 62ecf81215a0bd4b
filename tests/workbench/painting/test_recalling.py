"""Pictures explain themselves: everything is restored, painted anew pixel for pixel, and what is missing is named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sampling import save_png
from sampling.errors import RecordRefused
from workbench.errors import MissingInputs
from workbench.grids.axes import Axis
from workbench.grids.files import write_grid
from workbench.grids.painting import paint_cells
from workbench.grids.planning import plan_grid
from workbench.painting.previewing import preview
from workbench.painting.profiles import Sampling
from workbench.painting.recalling import recall, repaint, restore, write_repainted

CIRCLE = "a large red circle on a white background"
RECIPE = "0.8*soft{unet.up: 0.5} + 0.5*fast"
HOW: dict[str, Any] = {"solver": "ddim", "steps": 2, "guidance": 2.0, "eta": 0.5, "negative": "grey", "width": 32}

AGAIN = """
import json, sys
from pathlib import Path
from registry import Registry
from workbench.painting.recalling import repaint
with Registry.open(Path(sys.argv[1])) as registry:
    found = [repaint(registry, Path(path)) for path in sys.argv[2:]]
print(json.dumps([[one.is_equal, list(one.notes)] for one in found]))
"""


def painted(gallery: Any, name: str = "one.png", recipe: str = RECIPE, **how: Any) -> Path:
    return preview(gallery.registry, recipe, [CIRCLE], seeds=(3,), out=gallery.files / name, **{**HOW, **how}).path


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def beginning(gallery: Any) -> Path:
    """A picture to begin with."""
    path = Path(gallery.files / "init.png")
    Image.effect_noise((64, 64), 60).convert("RGB").save(path)
    return path


def test_everything_that_a_picture_was_painted_from_is_restored(gallery: Any) -> None:
    init = beginning(gallery)
    found = restore(gallery.registry, recall(painted(gallery, init=init, init_strength=0.6, height=48)))
    assert found.missing == ()
    assert (found.prompt, found.seed) == (CIRCLE, 3)
    how = found.sampling
    assert (how.solver, how.steps, how.guidance, how.eta, how.negative) == ("ddim", 2, 2.0, 0.5, "grey")
    assert (how.width, how.height, how.init_strength) == (32, 48, 0.6)
    assert gallery.registry.blob_path(how.init).read_bytes() == init.read_bytes()
    assert found.base == f"sha256:{gallery.registry.get('shapes').digest}"
    assert found.recipe.count("sha256:") == 2


def test_a_picture_is_painted_again_pixel_for_pixel_by_another_process(gallery: Any) -> None:
    single, plan = (
        painted(gallery),
        plan_grid(
            gallery.registry,
            RECIPE,
            prompts=[CIRCLE],
            x=Axis.parse("seed=1,2,3"),
            y=Axis.parse("fast=0,1"),
            sampling=Sampling(solver="lcm", steps=2),
        ),
    )
    paint_cells(gallery.registry, plan.cells)
    [sheet] = write_grid(gallery.registry, plan, gallery.files / "grid.png")
    here = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", AGAIN, str(gallery.registry.home), str(single), str(sheet)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": here}, check=False, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[True, []], [True, []]]


def test_a_picture_of_a_batch_is_painted_in_one_of_that_size(gallery: Any) -> None:
    whole = preview(gallery.registry, RECIPE, [CIRCLE], seeds=(1, 2, 3), out=gallery.files / "three", **HOW)
    assert [record["batch"] for record in whole.records] == [{"size": 3, "place": place} for place in range(3)]
    assert repaint(gallery.registry, whole.paths[2]).is_equal


def test_what_differs_is_said(gallery: Any) -> None:
    path = painted(gallery)
    record, image = recall(path), opened(path)
    image.putpixel((3, 4), tuple(255 - value for value in image.getpixel((3, 4))))  # type: ignore[union-attr]
    record["versions"]["torch"] = "1.0"
    save_png(image, path, record)
    found = repaint(gallery.registry, path)
    assert (found.is_equal, found.pixels) == (False, 1)
    assert found.largest > 0
    assert found.notes == (f"torch was 1.0, is {found.record['versions']['torch']}",)
    save_png(image.resize((8, 8)), path, record)
    assert "it is 8x8, painted anew 32x" in repaint(gallery.registry, path).notes[0]


def test_what_is_missing_is_named_by_its_hash(gallery: Any, tmp_path: Path) -> None:
    from registry import Registry

    init = beginning(gallery)
    path = painted(gallery, init=init)
    with Registry.open(tmp_path / "elsewhere") as other:
        with pytest.raises(MissingInputs) as refusal:
            repaint(other, path)
        record = recall(path)
        assert {one["sha256"] for one in record["inputs"]} | {record["base"]["sha256"], record["init"]} == {
            missing.rpartition("sha256:")[2] for missing in refusal.value.missing
        }
        assert "soft" in str(refusal.value)
        assert "tau import" in str(refusal.value)


def test_a_file_that_was_never_imported_is_found_where_it_was_while_it_is_the_same(gallery: Any) -> None:
    file = gallery.files / "soft.safetensors"
    copy = gallery.files / "copy.safetensors"
    copy.write_bytes(file.read_bytes() + b"")
    tensors = copy.read_bytes()
    path = painted(gallery, recipe=f"0.5*{_unregistered(copy)} + fast")
    assert repaint(gallery.registry, path).is_equal
    copy.write_bytes(tensors)
    with pytest.raises(MissingInputs, match=r"copy\.safetensors sha256:"):
        repaint(gallery.registry, path)


def _unregistered(path: Path) -> Path:
    """The file with other numbers than any that was imported."""
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor * 0.5 if "down" in name else tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    return path


def test_a_record_of_no_registry_cannot_be_painted_again(gallery: Any) -> None:
    path = painted(gallery)
    record = {key: value for key, value in recall(path).items() if key not in ("locked", "base")}
    save_png(opened(path), path, record)
    with pytest.raises(RecordRefused, match="lacks locked, base"):
        repaint(gallery.registry, path)


def test_what_was_painted_anew_is_written_with_its_own_record(gallery: Any) -> None:
    path = painted(gallery)
    out = write_repainted(repaint(gallery.registry, path), gallery.files / "new" / "again.png")
    assert np.array_equal(np.asarray(opened(out)), np.asarray(opened(path)))
    assert recall(out)["prompt"] == CIRCLE
