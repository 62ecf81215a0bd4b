"""Where pictures will be painted and what that takes, said before a base is loaded; and the bases so opened."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill_jobs.execution.shelf import Shelf
from registry import Registry
from sampling.devices import Device
from sampling.errors import TooLittleMemory, UnknownDevice, UnsupportedSetting
from sampling.placement import RESERVE, at_once
from workbench.errors import BaseUndecided
from workbench.intake.importing import import_file
from workbench.painting.plans import Opener, PaintingPlan, open_planned, plan_base, plan_painting
from workbench.painting.previewing import preview
from workbench.painting.profiles import Sampling

RECIPE = "shapes + 0.5*soft"
HOW = Sampling(solver="ddim", steps=2, guidance=2.0)
MIB = 1 << 20


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch):
    """short_of_memory(bytes): so many are free on this machine, beside the reserve."""

    def shorten(free: int) -> None:
        found = Device("cpu", "CPU", free + RESERVE, 64 << 30)
        monkeypatch.setattr("sampling.devices._cpu", lambda: found)

    return shorten


def test_a_plan_says_device_memory_and_size(gallery) -> None:
    plan = plan_painting(gallery.registry, RECIPE, sampling=HOW, pictures=3)
    assert (plan.device, plan.offload, plan.tiling, plan.batch, plan.size) == ("cpu", "none", False, 3, (64, 64))
    assert 20 * MIB > plan.needed_bytes > plan.weights_bytes > 1 * MIB
    assert plan.sentence == (
        f"3 pictures of 64x64 on cpu (CPU): {plan.needed_bytes / MIB:.0f} MiB of {plan.free_bytes / 2**30:.1f} GiB "
        "free, nothing like it was painted here yet"
    )


def test_time_is_learnt_from_what_was_painted(gallery) -> None:
    painted = preview(gallery.registry, RECIPE, ["a red circle", ""], sampling=HOW, seeds=(1, 2))
    plan = plan_painting(gallery.registry, RECIPE, sampling=HOW, pictures=8)
    assert plan.seconds == pytest.approx(2 * painted.seconds)
    twice = plan_painting(gallery.registry, RECIPE, sampling=replace(HOW, steps=4), pictures=8)
    assert twice.seconds == pytest.approx(4 * painted.seconds)
    assert "about" in plan.sentence
    assert plan_painting(gallery.registry, RECIPE, sampling=replace(HOW, width=128)).seconds is None


def test_size_guidance_and_vectors_are_counted(gallery) -> None:
    def needed(text: str = RECIPE, **said) -> int:
        return plan_painting(gallery.registry, text, sampling=replace(HOW, **said), pictures=4).needed_bytes

    assert needed(width=128) > needed()
    assert needed() > needed("shapes")
    assert needed(guidance=2.0, width=1024) >= needed(guidance=1.0, width=1024)


def test_fewer_pictures_at_a_time_where_memory_is_short(gallery, short_of_memory) -> None:
    one = plan_painting(gallery.registry, RECIPE, sampling=HOW).needed_bytes
    short_of_memory(one)
    plan = plan_painting(gallery.registry, RECIPE, sampling=HOW, pictures=40)
    assert 1 <= plan.batch < 40
    assert f"{plan.batch} at a time" in plan.sentence
    painted = preview(gallery.registry, RECIPE, ["a red circle"], sampling=HOW, seeds=range(2))
    assert len(painted.images) == 2


def test_too_little_memory_is_refused_before_anything_is_loaded(gallery, short_of_memory) -> None:
    short_of_memory(MIB)
    with pytest.raises(TooLittleMemory, match=r"64x64 pixels takes at least .*\(--width, --height\).*--device"):
        plan_painting(gallery.registry, RECIPE, sampling=HOW)
    with pytest.raises(TooLittleMemory):
        preview(gallery.registry, RECIPE, ["a red circle"], sampling=HOW)


def test_a_device_is_named_by_an_argument_or_by_the_settings(gallery, monkeypatch) -> None:
    with pytest.raises(UnknownDevice, match="device 'cuda:9': this machine has"):
        plan_painting(gallery.registry, RECIPE, device="cuda:9")
    monkeypatch.setenv("TAU_DEVICE", "mps:7")
    with pytest.raises(UnknownDevice, match="device 'mps:7'"):
        plan_painting(gallery.registry, RECIPE)
    assert plan_painting(gallery.registry, RECIPE, device="cpu").device == "cpu"


def test_what_a_preview_refuses_a_plan_refuses(gallery, pipeline_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSetting):
        plan_painting(gallery.registry, RECIPE, steps=0)
    import_file(gallery.registry, pipeline_folder / "tokenizer", name="words", kind="other")
    with pytest.raises(BaseUndecided):
        gallery.registry.remove("shapes")
        plan_painting(gallery.registry, "soft")


def test_a_plan_is_carried_out(gallery) -> None:
    base = gallery.registry.get("shapes")
    plan = replace(plan_base(gallery.registry, base, [HOW], 5), batch=2, tiling=True, offload="sequential")
    pipe = open_planned(gallery.registry, base, plan)
    assert (at_once(pipe), pipe.vae.use_tiling) == (2, True)
    assert hasattr(pipe.unet.conv_in, "_diffusers_hook")


def opened(registry: Registry, name: str, shelf: Shelf, pictures: int = 1):
    base = registry.get(name)
    return Opener(registry, [HOW], pictures, shelf=shelf)(base)


def test_a_base_stays_open_for_the_next_job_and_is_told_how_many_at_once(gallery) -> None:
    shelf = Shelf()
    first = opened(gallery.registry, "shapes", shelf)
    assert opened(gallery.registry, "shapes", shelf, pictures=7) is first
    assert (shelf.made, at_once(first)) == (1, 7)


def test_another_base_takes_its_place_where_both_do_not_fit(gallery, write_checkpoint, tmp_path, monkeypatch) -> None:
    file = write_checkpoint(gallery.base, tmp_path / "merged.safetensors")
    import_file(gallery.registry, file, name="merged")
    shelf, free = Shelf(), [1 << 30]
    monkeypatch.setattr("sampling.devices._cpu", lambda: Device("cpu", "CPU", free[0] + RESERVE, 64 << 30))
    kept = [opened(gallery.registry, name, shelf) for name in ("shapes", "merged")]
    assert [opened(gallery.registry, name, shelf) for name in ("shapes", "merged")] == kept
    plan = plan_base(gallery.registry, gallery.registry.get("shapes"), [HOW], 1)
    free[0] = plan.needed_bytes - plan.weights_bytes - 1
    opened(gallery.registry, "shapes", shelf)
    assert shelf.kept_bytes == plan.weights_bytes


def test_what_went_wrong_is_not_used_again(gallery) -> None:
    shelf, base = Shelf(), gallery.registry.get("shapes")
    opener = Opener(gallery.registry, [HOW], 1, shelf=shelf)
    first = opener(base)
    opener.forget()
    assert opener(base) is not first


def test_one_file_is_planned_as_its_folder(gallery, write_checkpoint, tmp_path: Path) -> None:
    file = write_checkpoint(gallery.base, tmp_path / "merged.safetensors")
    import_file(gallery.registry, file, name="merged")
    one, folder = (plan_painting(gallery.registry, name, sampling=HOW) for name in ("merged", "shapes"))
    assert one.needed_bytes == folder.needed_bytes


def test_pictures_are_those_of_an_unplanned_painting(gallery) -> None:
    from sampling import load_pipeline, paint

    ours = preview(gallery.registry, "shapes", ["a red circle"], sampling=HOW).images[0]
    expected = paint(load_pipeline(gallery.base), ["a red circle"], solver="ddim", steps=2, guidance=2.0, seeds=[0])
    assert np.array_equal(np.asarray(ours), np.asarray(expected.images[0]))


def test_a_plan_is_a_value(gallery) -> None:
    plan = plan_painting(gallery.registry, RECIPE, sampling=HOW)
    assert isinstance(plan, PaintingPlan)
    assert plan.placement.batch == plan.batch
