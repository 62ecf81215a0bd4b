"""The pre-flight: everything that can be known to go wrong, or to take long, before the first step."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from arithmetic.verdict import Finding, Verdict
from distill_jobs.bases.conditioning import Condition, encoded, time_ids, token_ids
from distill_jobs.bases.probe import probe_vae
from distill_jobs.bases.trainable import has_zero_terminal_snr, require_trainable
from distill_jobs.consistency import Prediction, schedule_of
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import PreflightRefused
from distill_jobs.preflight.answers import answered_prediction
from distill_jobs.preflight.needs import Needs, predicted_needs
from distill_jobs.training.devices import device_of
from distill_jobs.training.settings import TrainingSettings
from sampling.base import picture_size
from sampling.guidance import timestep_condition

FILE = "preflight.json"
PROBES = 16
"""Pictures whose latents the network is asked about."""
TIMED = 4
"""Pictures of the pass that is timed."""
SPARE = 1.2
"""By how much a prediction of memory may fall short."""
GIB = 1024**3
SMALLER = "Lower --batch, raise --accumulate, or take --gradient-checkpointing or --dtype bf16."


@dataclass(frozen=True)
class Preflight:
    """What was found, and what the training needs."""

    verdict: Verdict
    needs: Needs

    def to_json(self) -> dict[str, Any]:
        """As it is kept beside a job, and printed by a dry run."""
        return {"findings": [asdict(finding) for finding in self.verdict.findings], "needs": self.needs.to_json()}

    def refuse(self) -> None:
        """Raise PreflightRefused when there is an error among the findings."""
        if errors := self.verdict.errors:
            raise PreflightRefused(" ".join(f"{finding.sentence} {finding.remedy}" for finding in errors))

    def write(self, folder: Path) -> None:
        """Keep it as folder/preflight.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Probe:
    """A few pictures as the training will see them: pixels (N, 3, H, W), latents (N, C, h, w), what is told of each."""

    pixels: Tensor
    latents: Tensor
    condition: Condition

    @classmethod
    @torch.no_grad()
    def of(cls, pipe: Any, dataset: Dataset) -> "Probe":
        """The first pictures of a data set through the VAE and the text encoders."""
        count = min(PROBES, len(dataset.entries))
        pixels = dataset.pixels(0, count, picture_size(pipe))
        mean = pipe.vae.encode(pixels.to(pipe.vae.device, pipe.vae.dtype)).latent_dist.mean
        told = encoded(pipe, token_ids(pipe, dataset.captions[:count]))
        ids = time_ids(pipe, dataset, picture_size(pipe))
        condition = told.with_time_ids(None if ids is None else ids[:count])
        return cls(pixels, (mean * pipe.vae.config.scaling_factor).float().cpu(), condition)


def inspect(form: str, pipe: Any, dataset: Dataset, settings: TrainingSettings, folder: Path) -> Preflight:
    """The pre-flight of a training of that form (lcd-lora, lcd, lcf, lcf-lora, style) in `folder`: it takes no step.

    Raises UnsupportedBase for a base that cannot be trained at all.
    """
    require_trainable(pipe, is_distilled=form == "lcf")
    probe = Probe.of(pipe, dataset)
    told = (probe.latents[:TIMED], probe.condition.at(torch.arange(len(probe.latents[:TIMED]))))
    needs = predicted_needs(form, pipe.unet, *told, len(dataset.entries), set(dataset.captions), settings)
    found = [
        *prediction_findings(pipe, probe),
        *vae_findings(pipe, probe),
        *memory_findings(needs, settings),
        *disk_findings(needs, folder),
    ]
    return Preflight(Verdict.of(found), needs)


@torch.no_grad()
def prediction_findings(pipe: Any, probe: Probe) -> Iterator[Finding]:
    """Whether the network answers what its scheduler says that it predicts, and whether the schedule allows that."""
    schedule, unet = schedule_of(pipe.scheduler), pipe.unet
    eps = torch.randn(probe.latents.shape, generator=torch.Generator().manual_seed(0))
    told = probe.condition.to(unet.device, unet.dtype).arguments()
    guidance = timestep_condition(unet, 1.0, len(eps))

    def output(z: Tensor, timesteps: Tensor) -> Tensor:
        given = (z.to(unet.device, unet.dtype), timesteps.to(unet.device))
        answer: Tensor = unet(*given, **told, timestep_cond=guidance, return_dict=False)[0]
        return answer.float().cpu()

    answered = answered_prediction(output, probe.latents, eps, schedule)
    if answered is not None and answered is not schedule.prediction:
        yield Finding(
            "prediction-type",
            "error",
            f"The scheduler says prediction_type {schedule.prediction}, the U-Net answers like {answered}.",
            "Correct prediction_type in the base's scheduler/scheduler_config.json, and import the base again.",
        )
    if has_zero_terminal_snr(pipe.scheduler) and schedule.prediction is Prediction.v:
        sentence = "The schedule ends in pure noise (zero terminal SNR); v prediction is trained up to there."
        yield Finding("zero-snr", "note", sentence, "")


def vae_findings(pipe: Any, probe: Probe) -> Iterator[Finding]:
    """Whether the VAE stays finite in its dtype on these pictures."""
    found = probe_vae(pipe.vae, pipe.vae.dtype, probe.pixels[:4])
    if found.passed:
        return
    if pipe.vae.dtype is torch.float32:
        yield Finding("vae-nan", "error", f"In float32 {found}.", "The base's VAE is damaged: replace it.")
    else:
        yield Finding("vae-nan", "note", f"{found}.", "Latents are made in float32 instead.")


def memory_findings(needs: Needs, settings: TrainingSettings) -> Iterator[Finding]:
    """Whether the device has the memory that is predicted."""
    device = device_of(settings)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    wanted = needs.memory.total
    if wanted > free:
        sentence = f"A step is predicted to need {wanted / GIB:.1f} GiB on {device}, {free / GIB:.1f} GiB are free."
        yield Finding("memory", "error", sentence, SMALLER)
    elif wanted * SPARE > free:
        sentence = f"A step is predicted to need {wanted / GIB:.1f} of the {free / GIB:.1f} GiB free on {device}."
        yield Finding("memory", "warning", sentence, SMALLER)


def disk_findings(needs: Needs, folder: Path) -> Iterator[Finding]:
    """Whether the disk of `folder` has the room that is predicted."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if needs.disk > free:
        yield Finding(
            "disk",
            "error",
            f"The job is predicted to write {needs.disk / GIB:.1f} GiB to {there}, {free / GIB:.1f} GiB are free.",
            "Make room, lower --keep-last, --keep-best or --trajectories, or move TAU_HOME.",
        )


def require_no_error(form: str, pipe: Any, dataset: Dataset, settings: TrainingSettings, folder: Path) -> Preflight:
    """`inspect`, kept in `folder`; raises PreflightRefused, UnsupportedBase."""
    found = inspect(form, pipe, dataset, settings, folder)
    found.write(folder)
    found.refuse()
    return found
