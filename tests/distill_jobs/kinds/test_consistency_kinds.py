"""What lcd, lcf and lcf into a LoRA share: every option changes the result, and it resumes to the last bit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from pydantic import BaseModel, ValidationError
from safetensors.torch import load_file
from torch import Tensor

from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import Interrupted, UnsupportedBase
from distill_jobs.kinds.lcd import LcdSettings, distil_base
from distill_jobs.kinds.lcf import LcfLoraSettings, LcfSettings, tune_base, tune_vector
from distill_jobs.progress import Progress
from distill_jobs.training.compute import ComputeSettings

Silent = dict[str, Callable[..., Any]]
Tensors = dict[str, Tensor]

SHORT: dict[str, Any] = {"steps": 4, "batch": 3, "warmup": 1, "checkpoint_every": 2}
SHARED: list[dict[str, Any]] = [
    {"steps": 5},
    {"batch": 4},
    {"learning_rate": 3e-5},
    {"schedule": "constant"},
    {"schedule": "linear"},
    {"warmup": 3},
    {"weight_decay": 0.5},
    {"gradient_clip": 1e-9},
    {"ema_rate": 0.9},
    {"seed": 1},
    {"num_ddim_timesteps": 25},
    {"loss": "l2"},
    {"huber_c": 0.1},
    {"noise_weighting": 1.0},
    {"target_rate": 0.5},
    {"caption_dropout": 0.9},
]
OF_A_RANGE: list[dict[str, Any]] = [{"w_min": 4.0}, {"w_max": 5.0}]
OF_A_VECTOR: list[dict[str, Any]] = [
    {"rank": 5},
    {"alpha": 2.0},
    {"targets": ("to_q", "conv1")},
    {"layout": "diffusers"},
]


@dataclass(frozen=True)
class Kind:
    """A kind of training on the small base: its settings, what each of them is changed to, and how it is run."""

    settings: type[BaseModel]
    changes: list[dict[str, Any]]
    train: Callable[..., Tensors]
    pipe: StableDiffusionPipeline


@pytest.fixture(scope="module", params=["lcd", "lcf", "lcf-lora"])
def kind(
    request: pytest.FixtureRequest,
    base: StableDiffusionPipeline,
    base_folder: Path,
    distilled: StableDiffusionPipeline,
    distilled_folder: Path,
    acceleration: Any,
    dataset: Dataset,
) -> Kind:
    """Each kind in turn."""

    def lcd(settings: Any, **how: Any) -> Tensors:
        return _unet(distil_base(base, base_folder, dataset, settings, **how))

    def lcf(settings: Any, **how: Any) -> Tensors:
        return _unet(tune_base(distilled, distilled_folder, dataset, settings, **how))

    def lcf_lora(settings: Any, **how: Any) -> Tensors:
        return load_file(tune_vector(base, acceleration, dataset, settings, **how))

    return {
        "lcd": Kind(LcdSettings, SHARED + OF_A_RANGE, lcd, base),
        "lcf": Kind(LcfSettings, SHARED + OF_A_RANGE, lcf, distilled),
        "lcf-lora": Kind(LcfLoraSettings, SHARED + OF_A_VECTOR, lcf_lora, base),
    }[request.param]


@pytest.fixture(scope="module")
def reference(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    """What the short settings give, uninterrupted."""
    folder = tmp_path_factory.mktemp("reference")
    how = {"report": lambda progress: None, "cancelled": lambda: None}
    return kind.train(settings=kind.settings(**SHORT), folder=folder, **how)


def test_changing_any_option_changes_the_result(kind: Kind, reference: Tensors, tmp_path: Path, silent: Silent) -> None:
    for i, change in enumerate(kind.changes):
        got = kind.train(settings=kind.settings(**{**SHORT, **change}), folder=tmp_path / str(i), **silent)
        assert set(got) != set(reference) or any(not torch.equal(got[name], reference[name]) for name in got), change


def test_every_setting_has_a_change_that_is_tested(kind: Kind) -> None:
    strip = {"sample_every", "sample_prompts", "sample_guidance"}  # tested with the strip
    elsewhere = strip | {"checkpoint_every", "keep_last", "evaluation", *ComputeSettings.model_fields}
    tested = {name for change in kind.changes for name in change}
    assert tested - elsewhere == set(kind.settings.model_fields) - elsewhere


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "bf16"},
        {"accumulate": 2},
        {"processes": 2},
        {"attention": "math"},
        {"channels_last": True},
        {"optimiser": "adamw-fused"},
        {"gradient_checkpointing": True},
        {"compile": "aot_eager"},
    ],
    ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()),
)
def test_every_way_of_computing_comes_to_nearly_the_same(
    kind: Kind, tmp_path: Path, silent: Silent, change: dict[str, Any]
) -> None:
    common = {**SHORT, "steps": 2, "batch": 2, "learning_rate": 1e-4, "target_rate": 0.9}
    got = [
        kind.train(settings=kind.settings(**common, **options), folder=tmp_path / str(i), **silent)
        for i, options in enumerate(({}, change))
    ]
    for name, value in got[0].items():
        torch.testing.assert_close(got[1][name], value, rtol=0, atol=5e-4)


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("averaged", [False, True])
def test_stopped_after_any_step_and_resumed_it_ends_at_the_same_bits(
    kind: Kind, reference: Tensors, tmp_path: Path, silent: Silent, stop: int, averaged: bool
) -> None:
    settings = kind.settings(**SHORT, **({"ema_rate": 0.9, "target_rate": 0.8} if averaged else {}))
    whole = kind.train(settings=settings, folder=tmp_path / "whole", **silent) if averaged else reference
    seen: list[Progress] = []
    with pytest.raises(Interrupted):
        kind.train(
            settings=settings,
            folder=tmp_path,
            report=seen.append,
            cancelled=lambda: "cancel" if len(seen) == stop else None,
        )
    resumed = kind.train(settings=settings, folder=tmp_path, **silent)
    assert max((resumed[name] - whole[name]).abs().max().item() for name in whole) == 0.0


def test_the_base_is_left_as_it_was(kind: Kind, tmp_path: Path, silent: Silent) -> None:
    before = {name: value.clone() for name, value in kind.pipe.unet.state_dict().items()}
    kind.train(settings=kind.settings(**SHORT), folder=tmp_path, **silent)
    after = kind.pipe.unet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(value.requires_grad for value in kind.pipe.unet.parameters())


def test_the_strip_shows_the_training_and_does_not_disturb_it(kind: Kind, reference: Tensors, tmp_path: Path) -> None:
    strips: list[np.ndarray] = []

    def keep(progress: Progress) -> None:
        if progress.strip:
            strips.append(np.asarray(Image.open(progress.strip)))

    settings = kind.settings(**SHORT, sample_every=2, sample_prompts=("a large red circle", ""))
    got = kind.train(settings=settings, folder=tmp_path, report=keep, cancelled=lambda: None)
    assert [strip.shape for strip in strips] == [(64, 128, 3)] * 2
    assert not np.array_equal(strips[0][:, :64], strips[0][:, 64:])
    assert all(torch.equal(got[name], reference[name]) for name in reference)


def test_the_strip_is_painted_at_the_guidance_that_is_asked_for(kind: Kind, tmp_path: Path, silent: Silent) -> None:
    if "sample_guidance" not in kind.settings.model_fields:
        with pytest.raises(ValidationError, match="sample_guidance"):
            kind.settings(sample_guidance=3.0)
        return
    strips = []
    for guidance in (1.0, 30.0):
        folder = tmp_path / f"{guidance}"
        settings = kind.settings(
            **{**SHORT, "learning_rate": 0.05}, sample_every=4, sample_prompts=("",), sample_guidance=guidance
        )
        kind.train(settings=settings, folder=folder, **silent)
        strips.append(np.asarray(Image.open(folder / "strip.png")))
    assert not np.array_equal(*strips)


@pytest.mark.parametrize("settings", [LcdSettings, LcfSettings])
def test_the_strip_is_painted_in_the_middle_of_the_range_by_default(settings: Any) -> None:
    assert settings(w_min=3.0, w_max=8.0).strip_guidance == 6.5
    assert settings(w_min=3.0, w_max=8.0, sample_guidance=2.0).strip_guidance == 2.0


@pytest.mark.parametrize("wrong", [{"target_rate": 1.0}, {"loss": "l1"}, {"num_ddim_timesteps": 0}, {"guidance": 7.5}])
def test_settings_that_are_unknown_or_out_of_range_are_refused(kind: Kind, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        kind.settings(**wrong)


def test_a_range_of_guidance_has_its_ends_in_order_and_goes_with_a_unet_that_is_told(kind: Kind) -> None:
    if "w_min" in kind.settings.model_fields:
        with pytest.raises(ValidationError, match="w_min 9 is above w_max 5"):
            kind.settings(w_min=9.0, w_max=5.0)
        with pytest.raises(ValidationError):
            kind.settings(rank=4)
    else:
        with pytest.raises(ValidationError, match="learn the average"):
            kind.settings(w_min=2.0, w_max=5.0)


def test_a_unet_that_is_told_its_guidance_already_is_fine_tuned_but_not_distilled(
    base: StableDiffusionPipeline,
    base_folder: Path,
    distilled: StableDiffusionPipeline,
    distilled_folder: Path,
    acceleration: Any,
    dataset: Dataset,
    tmp_path: Path,
    silent: Silent,
) -> None:
    with pytest.raises(UnsupportedBase, match="distilled already"):
        distil_base(distilled, distilled_folder, dataset, LcdSettings(), folder=tmp_path, **silent)
    with pytest.raises(UnsupportedBase, match="distilled already"):
        tune_vector(distilled, acceleration, dataset, LcfLoraSettings(), folder=tmp_path, **silent)
    with pytest.raises(UnsupportedBase, match="tau distill lcd"):
        tune_base(base, base_folder, dataset, LcfSettings(), folder=tmp_path, **silent)


def _unet(folder: Path) -> Tensors:
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
