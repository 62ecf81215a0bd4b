"""Two processes on one training: the result of one, one voice, and an end when one of them dies."""

import os
import signal
import threading
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from pydantic import ValidationError
from safetensors.torch import load_file

from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import Interrupted, ProcessLost
from distill_jobs.kinds.lcd_lora import LcdLoraSettings, distil
from distill_jobs.progress import Progress
from distill_jobs.training.trainer import CHECKPOINT

SHORT: dict[str, Any] = {"rank": 2, "steps": 3, "batch": 4, "warmup": 1, "w": 1.0, "learning_rate": 1e-4}


def test_two_processes_train_what_one_trains(base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained = {}
    for processes in (1, 2):
        settings = LcdLoraSettings(**SHORT, processes=processes, trajectories=1)
        folder = tmp_path / str(processes)
        path = distil(base, dataset, settings, folder=folder, report=seen.append, cancelled=lambda: None)
        trained[processes] = load_file(path)
    for name, value in trained[1].items():
        torch.testing.assert_close(trained[2][name], value, rtol=0, atol=1e-5)
    assert any(not torch.equal(trained[2][name], value) for name, value in trained[1].items())
    assert [progress.step for progress in seen] == [1, 2, 3] * 2
    assert [p.loss for p in seen[3:]] == pytest.approx([p.loss for p in seen[:3]], rel=1e-3)
    assert active_children() == []


def test_both_stop_when_one_is_asked_and_go_on_from_the_checkpoint(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = LcdLoraSettings(**SHORT, processes=2)
    seen: list[Progress] = []
    with pytest.raises(Interrupted, match="after step 1"):
        distil(
            base,
            dataset,
            settings,
            folder=tmp_path,
            report=seen.append,
            cancelled=lambda: "cancel" if seen else None,
        )
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 1
    distil(base, dataset, settings, folder=tmp_path, report=seen.append, cancelled=lambda: None)
    assert [progress.step for progress in seen] == [1, 2, 3]


def test_a_killed_process_ends_the_training_instead_of_leaving_it_waiting(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = LcdLoraSettings(**{**SHORT, "steps": 10_000}, processes=2)

    def kill(progress: Progress) -> None:
        if progress.step == 2:
            for child in active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    began, threads = time.monotonic(), threading.active_count()
    with pytest.raises(ProcessLost, match=r"of 2 training processes, 1 \(exit code -9\) ended"):
        distil(base, dataset, settings, folder=tmp_path, report=kill, cancelled=lambda: None)
    assert time.monotonic() - began < 200
    assert threading.active_count() <= threads + 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"processes": 2, "batch": 5}, "batch 5 cannot be cut into 2 processes x 1 parts"),
        ({"accumulate": 3, "batch": 4}, "give a multiple of 3"),
        ({"processes": 2, "device": "cuda:1"}, "device cuda:1 is one, for 2 processes"),
    ],
)
def test_a_batch_or_a_device_that_cannot_be_shared_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LcdLoraSettings(**wrong)
