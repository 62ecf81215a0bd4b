"""SIGKILL in the middle of each consistency training, and not one bit of difference: target and average included."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

SETTINGS = {"steps": 5, "batch": 2, "checkpoint_every": 2, "ema_rate": 0.9, "target_rate": 0.8}
RESULTS = {
    "lcd": "model/unet/diffusion_pytorch_model.safetensors",
    "lcf": "model/unet/diffusion_pytorch_model.safetensors",
    "lcf-lora": "style.safetensors",
}


@pytest.mark.parametrize("kind", list(RESULTS))
def test_a_killed_training_resumes_to_the_same_bits(
    kind: str,
    base_folder: Path,
    distilled_folder: Path,
    acceleration: Any,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "functions"))
    base = distilled_folder if kind == "lcf" else base_folder
    given = {"base": str(base), "data": str(data_folder), "acceleration": str(acceleration.path)}
    for kill_after in (1, 3):  # once before any checkpoint, once after one
        assert _run(kind, given, tmp_path / "killed", kill_after) == kill_after
    _run(kind, given, tmp_path / "killed", None)
    _run(kind, given, tmp_path / "whole", None)
    resumed, whole = (load_file(tmp_path / folder / RESULTS[kind]) for folder in ("killed", "whole"))
    assert max((resumed[name] - whole[name]).abs().max().item() for name in whole) == 0.0


def _run(kind: str, given: dict[str, str], folder: Path, kill_after: int | None) -> int:
    """The last step that a process of its own did before it ended, or was killed after step `kill_after`."""
    from killable import train_telling

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distill_jobs.kinds.lcd", "distill_jobs.kinds.lcf", "sampling"])
    steps, told = context.Pipe(duplex=False)
    process = context.Process(target=train_telling, args=(kind, given, SETTINGS, str(folder), told))
    process.start()
    told.close()
    done = 0
    try:
        while done != kill_after:
            done = steps.recv()
        process.kill()
    except EOFError:
        pass
    process.join()
    return done
