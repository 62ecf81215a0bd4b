"""The pre-flight: everything that can be known to go wrong, or to take long, before the first step."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from arithmetic.verdict import Finding, Severity, Verdict
from distill_jobs.bases.conditioning import Condition
from distill_jobs.consistency import Prediction, Schedule, schedule_of
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import PreflightRefused
from distill_jobs.material.cache import embeddings_of, latents_of, picture_size
from distill_jobs.preflight import needs
from distill_jobs.preflight.answers import answered_prediction
from distill_jobs.preflight.needs import WORKLOADS, Memory
from distill_jobs.training.settings import TrainingSettings

PROBES = 16
"""Pictures that the network is asked about."""
SPARE = 1.1
"""What an estimate may be wrong by."""
ZERO_SNR = 1e-6
"""alpha-bar at the last timestep below which nothing of the picture is left there."""


@dataclass(frozen=True)
class Preflight:
    """What was found, and what the training will need: bytes at its peak, bytes on disk, seconds."""

    verdict: Verdict
    memory: Memory
    disk: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As `tau distill --dry-run --json` prints it."""
        findings = [{"code": f.code, "severity": f.severity, "sentence": f.sentence} for f in self.verdict.findings]
        return {"findings": findings, "memory": self.memory.to_json(), "disk": self.disk, "seconds": self.seconds}

    def refuse(self) -> None:
        """Raise PreflightRefused when there is an error among the findings."""
        if errors := self.verdict.errors:
            raise PreflightRefused([f"{finding.sentence} {finding.remedy}".strip() for finding in errors])


def inspect(kind: str, pipe: Any, dataset: Dataset, settings: TrainingSettings, folder: Path) -> Preflight:
    """The pre-flight of a training of `kind` with `settings` in `folder`: probes the base, runs no step."""
    probe = Probe.of(pipe, dataset)
    memory = predicted_memory(kind, pipe, probe, len(dataset.entries), settings)
    disk = predicted_disk(probe, len(dataset.entries), memory)
    findings = [*prediction_findings(pipe, probe), *vae_findings(probe), *memory_findings(memory, pipe.unet.device)]
    return Preflight(
        Verdict.of([*findings, *disk_findings(disk, folder)]),
        memory,
        disk,
        predicted_seconds(kind, pipe, probe, settings),
    )
