"""The pre-flight: silent on a sound base, and one finding with its remedy for each thing that is not."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from demo import base_folder, write_dataset
from distill_jobs import Dataset, LcdLoraSettings, StyleSettings, read_dataset
from distill_jobs.errors import PreflightRefused, UnsupportedBase
from distill_jobs.preflight.inspection import FILE, inspect, require_no_error
from distill_jobs.preflight.needs import WORKLOADS, predicted_passes
from sampling import load_pipeline

SMALL = LcdLoraSettings(rank=4, batch=4, steps=10)


@pytest.fixture(scope="module")
def shapes() -> StableDiffusionPipeline:
    return load_pipeline(base_folder())


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(write_dataset(tmp_path_factory.mktemp("flat"), "flat", count=20, seed=0))


def codes(pipe: Any, flat: Dataset, folder: Path, settings: Any = SMALL, form: str = "lcd-lora") -> dict[str, str]:
    return {finding.code: finding.severity for finding in inspect(form, pipe, flat, settings, folder).verdict.findings}


def changed(pipe: StableDiffusionPipeline, **scheduler: Any) -> Any:
    """The pipeline with another scheduler configuration; its networks are shared."""
    other = copy.copy(pipe)
    other.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, **scheduler)
    return other


def test_nothing_is_found_on_a_sound_base_and_the_needs_are_written_down(
    shapes: StableDiffusionPipeline, flat: Dataset, tmp_path: Path
) -> None:
    found = require_no_error("lcd-lora", shapes, flat, SMALL, tmp_path / "job")
    assert found.verdict.findings == ()
    assert json.loads((tmp_path / "job" / FILE).read_text()) == found.to_json()
    assert min(found.needs.memory.total, found.needs.disk) > 0
    assert found.needs.seconds > 0


@pytest.mark.parametrize("said", ["v_prediction", "sample"])
def test_a_scheduler_that_contradicts_its_network_is_refused(
    shapes: StableDiffusionPipeline, flat: Dataset, tmp_path: Path, said: str
) -> None:
    with pytest.raises(PreflightRefused, match=f"says prediction_type {said}, the U-Net answers like epsilon"):
        require_no_error("lcd-lora", changed(shapes, prediction_type=said), flat, SMALL, tmp_path)


def test_a_network_that_speaks_for_nothing_is_taken_at_its_schedulers_word(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    assert codes(base, dataset, tmp_path) == {}


def test_a_schedule_that_ends_in_noise_is_noted_for_v_and_refused_for_noise(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    ends_in_noise = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    with_v = changed(base, prediction_type="v_prediction", **ends_in_noise)
    assert codes(with_v, dataset, tmp_path) == {"zero-snr": "note"}
    with pytest.raises(UnsupportedBase, match="divides by zero"):
        inspect("lcd-lora", changed(base, **ends_in_noise), dataset, SMALL, tmp_path)


def test_a_damaged_vae_is_refused(fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path) -> None:
    with torch.no_grad():
        fresh_base.vae.decoder.conv_out.weight.fill_(float("nan"))
    assert codes(fresh_base, dataset, tmp_path)["vae-nan"] == "error"


def test_a_batch_that_no_machine_holds_is_refused_before_it_is_made(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    huge = LcdLoraSettings(rank=4, batch=50_000_000)
    found = inspect("lcd-lora", base, dataset, huge, tmp_path)
    assert [finding.code for finding in found.verdict.errors] == ["memory"]
    assert "--accumulate" in found.verdict.errors[0].remedy


def test_trajectories_that_no_disk_holds_are_refused(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    assert codes(base, dataset, tmp_path, LcdLoraSettings(rank=4, trajectories=10**10))["disk"] == "error"


CHEAPER: list[dict[str, Any]] = [
    {"batch": 2},
    {"accumulate": 2},
    {"gradient_checkpointing": True},
    {"dtype": "bf16"},
    {"rank": 2},
    {"optimiser": "adamw-8bit"},
]


@pytest.mark.parametrize("change", CHEAPER, ids=lambda value: str(value))
def test_what_saves_memory_is_predicted_to_save_it(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, change: dict[str, Any]
) -> None:
    plain = {"rank": 4, "batch": 8, "steps": 10}
    without, with_it = (
        inspect("lcd-lora", base, dataset, LcdLoraSettings(**{**plain, **extra}), tmp_path).needs
        for extra in ({}, change)
    )
    assert with_it.memory.total < without.memory.total


def test_kept_trajectories_spare_the_teachers_passes_after_the_first_visits() -> None:
    load, plain = WORKLOADS["lcd-lora"], {"steps": 100, "batch": 4}
    assert predicted_passes(load, 40, LcdLoraSettings(**plain)) == 100 * 5
    assert predicted_passes(load, 40, LcdLoraSettings(**plain, trajectories=2)) == 100 * 3 + 20 * 2
    assert predicted_passes(load, 40, LcdLoraSettings(**plain, trajectories=50)) == 100 * 5
    assert predicted_passes(load, 40, LcdLoraSettings(**plain, gradient_checkpointing=True)) == 100 * 6


def test_every_form_of_training_has_its_workload() -> None:
    from workbench.training.orders import RESULT_KINDS

    assert set(WORKLOADS) == set(RESULT_KINDS)


def test_a_style_keeps_its_checkpoints_on_disk(base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path) -> None:
    few, many = (
        inspect("style", base, dataset, StyleSettings(rank=4, keep_last=keep), tmp_path).needs.disk for keep in (0, 5)
    )
    assert many > few
