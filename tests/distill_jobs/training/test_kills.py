"""Twenty kills at random steps, and not one bit of difference."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from distill_jobs import Dataset, LcdLoraSettings, distil

KILLS = 20
SETTINGS = {"rank": 2, "steps": 60, "batch": 2, "checkpoint_every": 3, "ema_rate": 0.9}
RESULT = "acceleration.safetensors"


def test_twenty_kills_at_random_steps_change_no_bit(
    base_folder: Path,
    base: StableDiffusionPipeline,
    dataset: Dataset,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "functions"))
    from killable import distil_telling

    rng, kills = np.random.default_rng(0), 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distill_jobs.kinds.lcd_lora", "sampling"])
    folder = tmp_path / "killed"
    given = str(base_folder), str(data_folder), SETTINGS, str(folder)
    while not (folder / RESULT).exists():
        steps, told = context.Pipe(duplex=False)
        process = context.Process(target=distil_telling, args=(*given, told))
        process.start()
        told.close()
        lives = int(rng.integers(1, 7)) if kills < KILLS else 1_000
        try:
            for _ in range(lives):
                steps.recv()
            process.join(float(rng.uniform(0, 0.02)))  # some die in the middle of a step or of a checkpoint
            process.kill()
            kills += 1
        except EOFError:
            pass
        process.join()
    assert kills >= KILLS
    silent = {"report": lambda progress: None, "cancelled": lambda: None}
    whole = load_file(distil(base, dataset, LcdLoraSettings(**SETTINGS), folder=tmp_path / "whole", **silent))
    resumed = load_file(folder / RESULT)
    assert max((resumed[name] - whole[name]).abs().max().item() for name in whole) == 0.0
