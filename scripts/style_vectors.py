"""Makes the three style vectors that ship with the shapes world, by the product's own `train style` jobs.

`python scripts/style_vectors.py --home FOLDER` trains in a registry in FOLDER (an interrupted run goes on from its
checkpoints) and writes demo/assets/styles in three layouts: kohya with alpha != rank, a PEFT folder, diffusers.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from demo import STYLE_FILES, base_folder, style_files, write_dataset
from registry import Registry
from registry.jobs import Job
from workbench.intake.importing import import_file
from workbench.jobs.queueing import submit_training
from workbench.jobs.workers import run_worker

ORDERS = {
    "outline": {"layout": "kohya", "rank": 32, "alpha": 16.0},
    "stripes": {"layout": "peft", "rank": 32, "alpha": 32.0},
    "glow": {"layout": "diffusers", "rank": 8, "alpha": 8.0},
}
"""Two have the rank of the demo's acceleration vector: PEFT's linear merge and kohya's refuse unequal ranks, and the
demo shows what they make of equal ones."""
SHARED = {
    "steps": 700,
    "batch": 32,
    "learning_rate": 1.5e-3,
    "ema_rate": 0.98,
    "seed": 0,
    "caption_noise": {"wrong": 0.4, "empty": 0.1},
    "targets": ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2"),
}
"""Captions as noisy as the base's: clean ones would teach the vectors to do without guidance."""
PICTURES = 2000


def main() -> None:
    """Train, and copy the results into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args().home
    with Registry.open(home) as registry:
        import_file(registry, base_folder(), name="shapes")
        for style, order in ORDERS.items():
            data = write_dataset(home / "datasets" / style, style, count=PICTURES, seed=11)
            submit_training(registry, base="shapes", data=data, name=style, **SHARED, **order)
        run_worker(registry, until_idle=True, on_job=progress_printer())
        for style in STYLE_FILES:
            copy(registry.file(registry.get(style)), style_files()[style])


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder over `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def progress_printer() -> Callable[[Job], None]:
    """Prints a line for each job and 50 steps, once."""
    said: set[tuple[int, int, str]] = set()

    def say(job: Job) -> None:
        at = (job.id, job.progress.get("step", 0) // 50, job.state)
        if at not in said:
            said.add(at)
            print(f"{job.spec['name']}: {job.state} {dict(job.progress)}", flush=True)

    return say


if __name__ == "__main__":
    main()
