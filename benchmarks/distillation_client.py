"""One training of the distillation's benchmark, in a process of its own: the seconds of its steps as one line of JSON.

It runs in two environments: as a script in the rivals', where it imports nothing of ours and runs one of diffusers'
training scripts as it is, and as a module in ours. The clock is the same in both: a hook that torch calls after every
step of an optimiser, so that a step is all that happens between two calls. After the last one the training is
stopped; what would still be saved and painted is not measured.
"""

import argparse
import json
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

Figures = dict[str, Any]

MISSING_OPERATORS = ("nms", "qnms")
"""What torchvision's import asks for, where its build is for another torch. No transform of a picture needs them."""


class Measured(BaseException):
    """All steps were made: ends a training from inside, whatever errors it catches."""


class Clock:
    """When each step of the optimiser ended; ends the training after `skipped` + `steps` of them."""

    def __init__(self, skipped: int, steps: int) -> None:
        self.skipped, self.steps = skipped, steps
        self.ends: list[tuple[float, float]] = []

    def tick(self, *_: object) -> None:
        """A step ended. Raises Measured after the last."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append((time.perf_counter(), time.process_time()))
        if len(self.ends) == self.skipped + self.steps:
            raise Measured

    def figures(self) -> Figures:
        """Median seconds of the measured steps, on the clock and on this process's processors, and all of the first.

        Raises SystemExit when the training ended before.
        """
        counted = self.ends[self.skipped - 1 :]
        if len(counted) != self.steps + 1:
            raise SystemExit(f"the training ended after {len(self.ends)} steps, not {self.skipped + self.steps}")
        seconds, busy = ([after - before for before, after in pairwise(ends)] for ends in zip(*counted, strict=True))
        return {"seconds": statistics.median(seconds), "cpu_s": statistics.median(busy), "step_s": seconds}


def main() -> None:
    """Train, and print what a step took."""
    options, others = command_line().parse_known_args()
    clock = Clock(options.skipped, options.steps)
    training = TRAININGS[options.training](options, others)
    hook = register_optimizer_step_post_hook(clock.tick)
    try:
        training()
    except Measured:
        pass
    finally:
        hook.remove()
    gpu = {"gpu_mib": torch.cuda.max_memory_allocated() / 2**20} if torch.cuda.is_available() else {}
    print(json.dumps({"versions": versions(), **clock.figures(), **gpu}))


def command_line() -> argparse.ArgumentParser:
    """What is trained, and how many of its steps count."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("training", choices=sorted(TRAININGS))
    parser.add_argument("--skipped", type=int, required=True, help="first steps that do not count, at least 1")
    parser.add_argument("--steps", type=int, required=True, help="steps that count")
    parser.add_argument("--script", type=Path, help="of diffusers; it is given all options that are unknown here")
    parser.add_argument("--no-autocast", action="store_true", help="on a CPU: fp32 also where the script asks for less")
    parser.add_argument("--base", type=Path, help="ours: a diffusers folder")
    parser.add_argument("--pictures", type=Path, help="ours: a folder of captioned pictures")
    parser.add_argument("--work", type=Path, help="ours: where caches and checkpoints go")
    parser.add_argument("--settings", type=json.loads, help="ours: of lcd-lora, as JSON")
    return parser


def script(options: argparse.Namespace, arguments: list[str]) -> Callable[[], object]:
    """diffusers' script, as if it had been called with `arguments`."""
    import_torchvision()
    if options.no_autocast:
        # torch.autocast(device) without a dtype is bfloat16 on a CPU; with one that is not supported it does nothing.
        torch.set_autocast_dtype("cpu", torch.float32)
    sys.argv = [str(options.script), *arguments]
    return lambda: runpy.run_path(str(options.script), run_name="__main__")


def ours(options: argparse.Namespace, arguments: list[str]) -> Callable[[], object]:
    """Our distillation into a LoRA: what `tau` runs, without the job around it."""
    from distill_jobs.data.dataset import read_dataset
    from distill_jobs.kinds.lcd_lora import LcdLoraSettings, distil
    from sampling import load_pipeline

    if arguments:
        raise SystemExit(f"unknown options: {' '.join(arguments)}")
    settings = LcdLoraSettings.model_validate(options.settings)

    def train() -> None:
        pipe, dataset = load_pipeline(options.base), read_dataset(options.pictures)
        silent = {"report": lambda _: None, "cancelled": lambda: None}
        distil(pipe, dataset, settings, folder=options.work, release=True, **silent)

    return train


def import_torchvision() -> None:
    """Import it, also where it was built for CUDA and finds a torch without: its operators are missing then."""
    if not find_spec("torchvision"):
        return
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in MISSING_OPERATORS:
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        DECLARED.append(library)
        import_module("torchvision")


def versions() -> dict[str, str]:
    """Of what both sides train with."""
    return {name: version(name) for name in ("torch", "diffusers", "peft", "transformers", "accelerate")}


TRAININGS: Mapping[str, Callable[[argparse.Namespace, list[str]], Callable[[], object]]] = {
    "script": script,
    "ours": ours,
}
DECLARED: list[object] = []
"""Declarations of operators, which go when nobody holds them."""

if __name__ == "__main__":
    main()
