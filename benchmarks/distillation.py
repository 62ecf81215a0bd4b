"""Distilling into a LoRA beside diffusers' scripts: `python -m benchmarks.distillation --rival CHECKOUT`.

The scripts of a diffusers checkout run as they are, in the rivals' environment: train_lcm_distill_lora_sd_wds.py, which
keeps two U-Nets, and train_lcm_distill_lora_sdxl.py, which keeps one. Both encode pictures and captions at every step
and ask their teacher twice. Ours does as much work of the same kind on the same base, pictures, rank, batch and dtype:
once with the teacher asked every step, with and without a caption in one batch, and once in later epochs of kept
trajectories, where it is not asked at all. All take turns. A step is the time from the end of one of the optimiser's
steps to the next; a run gives the median of its steps after the first ones, the table the median of the runs. Memory is
the largest RssAnon of the process from its start, on a GPU what torch had allocated at most.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.arithmetic_inputs import note, rounded, table_lines, versions
from benchmarks.distillation_bases import SD15, SDXL, write_pictures, write_random_base, write_shapes_base
from benchmarks.subprocesses import Run, median, watched

CLIENT = "benchmarks.distillation_client"
SCRIPTS = Path("examples/consistency_distillation")
TWO_UNETS, ONE_UNET = "train_lcm_distill_lora_sd_wds.py", "train_lcm_distill_lora_sdxl.py"
RIVAL, AS_IT_IS = "diffusers", "diffusers, autocast as it is"
MERGED, KEPT = "ours", "ours, trajectories kept"
TIMES_FASTER = {MERGED: 1.25, KEPT: 1.8}
SHARE_OF_MEMORY = 0.6
GUIDANCE = 7.5

Runs = dict[str, dict[str, list[Run]]]


@dataclass(frozen=True)
class Case:
    """One base and what is trained on it. `steps` count; every picture is in every batch, so an epoch is a step."""

    name: str
    script: str
    write: Callable[[Path], Path]
    resolution: int
    batch: int
    rank: int
    steps: int
    dtype: str = "fp32"
    device: str = "cpu"
    share_of_memory: float | None = None

    def sides(self) -> tuple[str, ...]:
        """Who takes turns. On a CPU one script, left alone, computes its teacher in bfloat16: shown, not compared."""
        mixed = (AS_IT_IS,) if self.device == "cpu" and self.script == TWO_UNETS else ()
        return (RIVAL, MERGED, KEPT, *mixed)


def shapes_case(*, batch: int = 32, steps: int = 12) -> Case:
    """The shapes base, 64 pixels."""
    return Case("shapes base", TWO_UNETS, write_shapes_base, 64, batch, 32, steps)


CPU = (
    shapes_case(),
    Case(
        "SD-1.5's shape, 256 pixels",
        TWO_UNETS,
        lambda folder: write_random_base(folder, SD15, 256),
        resolution=256,
        batch=1,
        rank=64,
        steps=2,
        share_of_memory=SHARE_OF_MEMORY,
    ),
    Case(
        "SDXL's shape, a quarter as wide, 256 pixels",
        ONE_UNET,
        lambda folder: write_random_base(folder, SDXL.narrowed(4), 256),
        resolution=256,
        batch=2,
        rank=16,
        steps=4,
    ),
)
CUDA = (
    Case(
        "SD-1.5's shape, 512 pixels",
        TWO_UNETS,
        lambda folder: write_random_base(folder, SD15, 512),
        resolution=512,
        batch=8,
        rank=64,
        steps=20,
        dtype="bf16",
        device="cuda",
        share_of_memory=SHARE_OF_MEMORY,
    ),
    Case(
        "SDXL's shape, 1024 pixels",
        ONE_UNET,
        lambda folder: write_random_base(folder, SDXL, 1024),
        resolution=1024,
        batch=4,
        rank=64,
        steps=10,
        dtype="bf16",
        device="cuda",
    ),
)
TINY = (replace(shapes_case(batch=2, steps=1)),)


def main() -> None:
    """Let all take turns; what is measured already is not measured again."""
    options = command_line().parse_args()
    cases = TINY if options.tiny else CUDA if options.device == "cuda" else CPU
    folder = options.folder / f"distillation-{'tiny' if options.tiny else options.device}"
    folder.mkdir(parents=True, exist_ok=True)
    runs = measure(cases, folder, options)
    libraries = versions(*(run for sides in runs.values() for own in sides.values() for run in own))
    figures = {"cases": {case.name: described(case) for case in cases}, "runs": rounded(runs)}
    note(options, {"versions": libraries, "figures": figures}, print_table)
    shutil.rmtree(folder)


def command_line() -> argparse.ArgumentParser:
    """Where the rival is, and how often it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", type=Path, required=True, help="a checkout of diffusers")
    parser.add_argument("--rivals-python", required=True, help="the interpreter of an environment with their libraries")
    parser.add_argument("--folder", type=Path, required=True, help="where bases are written and runs are noted")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--tiny", action="store_true", help="one step of the shapes base: to see it run")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser


def measure(cases: tuple[Case, ...], folder: Path, options: argparse.Namespace) -> Runs:
    """Case -> side -> its runs. Each is noted in folder/runs.json when it is done, where a later call finds it."""
    path = folder / "runs.json"
    runs: Runs = json.loads(path.read_text()) if path.exists() else {}
    for number in range(options.runs):
        for case in cases:
            base, pictures = written(case, folder)
            for side in case.sides():
                own = runs.setdefault(case.name, {}).setdefault(side, [])
                if len(own) > number or (side == AS_IT_IS and own):
                    continue
                own.append(run(case, side, base, pictures, folder, options))
                path.write_text(json.dumps(runs))
    return runs


def written(case: Case, folder: Path) -> tuple[Path, Path]:
    """The base and the pictures of a case; made whole, or not there."""
    home = folder / case.name.replace(",", "").replace(" ", "-")
    if not home.exists():
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        case.write(partial / "base")
        write_pictures(partial, count=case.batch)
        partial.rename(home)
    return home / "base", home / "pictures"


def run(case: Case, side: str, base: Path, pictures: Path, folder: Path, options: argparse.Namespace) -> Run:
    """One training in a process of its own; what it said is in folder/said.txt."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    if side in (MERGED, KEPT):
        command = [sys.executable, "-m", CLIENT, *our_arguments(case, side, base, pictures, work)]
        environment = dict(os.environ)
    else:
        script = options.rival / SCRIPTS / case.script
        client = str(Path(__file__).with_name(f"{CLIENT.rpartition('.')[2]}.py"))
        command = [options.rivals_python, client, *rival_arguments(case, side, script, base, pictures, work)]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(work / "hub")}
    with (folder / "said.txt").open("w") as said:
        try:
            return watched(command, environment, said)
        except subprocess.CalledProcessError as error:
            error.add_note(f"what it said is in {said.name}")
            raise


def rival_arguments(case: Case, side: str, script: Path, base: Path, pictures: Path, work: Path) -> list[str]:
    """What the client is told to run a script of diffusers: its own options, then the script's."""
    own = ["script", "--script", str(script.resolve()), "--skipped", "2", "--steps", str(case.steps)]
    if case.dtype == "fp32" and side == RIVAL:
        own += ["--no-autocast"]
    told: dict[str, object] = {
        "pretrained_teacher_model": base,
        "output_dir": work,
        "resolution": case.resolution,
        "train_batch_size": case.batch,
        "max_train_steps": case.steps + 100,
        "lora_rank": case.rank,
        "lora_alpha": case.rank,
        "loss_type": "huber",
        "w_min": GUIDANCE,
        "w_max": GUIDANCE,
        "seed": 0,
        **data_arguments(case, pictures),
    }
    flags = ["--cast_teacher_unet"] if case.dtype != "fp32" and case.script == TWO_UNETS else []
    if case.dtype != "fp32":
        told["mixed_precision"] = case.dtype
    return [*own, *(f"--{name}={value}" for name, value in told.items()), *flags]


def data_arguments(case: Case, pictures: Path) -> dict[str, object]:
    """A tar for the script that reads webdatasets, which divides by its number of workers; a folder for the other."""
    if case.script == TWO_UNETS:
        tar = pictures.with_suffix(".tar")
        return {"train_shards_path_or_url": tar, "max_train_samples": 1_000_000, "dataloader_num_workers": 1}
    return {"train_data_dir": pictures, "num_train_epochs": 1_000_000}


def our_arguments(case: Case, side: str, base: Path, pictures: Path, work: Path) -> list[str]:
    """What the client is told to run ours."""
    settings: dict[str, object] = {
        "rank": case.rank,
        "steps": case.steps + 100,
        "batch": case.batch,
        "loss": "huber",
        "w": GUIDANCE,
        "dtype": case.dtype,
        "device": case.device,
        "trajectories": 1 if side == KEPT else 0,
        "checkpoint_every": 1_000_000,
    }
    places = ["--base", str(base), "--pictures", str(pictures), "--work", str(work)]
    return ["ours", "--skipped", "2", "--steps", str(case.steps), *places, "--settings", json.dumps(settings)]


def described(case: Case) -> dict[str, Any]:
    """For the figures."""
    names = ("script", "resolution", "batch", "rank", "steps", "dtype", "device", "share_of_memory")
    return {name: getattr(case, name) for name in names}


def print_table(document: Mapping[str, Any]) -> None:
    """Seconds a step beside the script's, and memory, as a Markdown table."""
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    print(f"{document['machine']}, {libraries}\n")
    print(table_lines(list(_rows(document["figures"]))))


def _rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool | None]]:
    for name, case in figures["cases"].items():
        sides = figures["runs"][name]
        yield from _time_rows(name, case, sides)
        yield from _memory_rows(name, case, sides)


def _time_rows(
    name: str, case: Mapping[str, Any], sides: Mapping[str, list[Run]]
) -> Iterator[tuple[str, str, str, bool | None]]:
    rival = median(sides[RIVAL])
    trained = f"{case['dtype']}, batch {case['batch']}, rank {case['rank']}"
    for side, runs in sides.items():
        seconds, aim = median(runs), TIMES_FASTER.get(side)
        shown = f"{seconds:.2f} s a step"
        if side == RIVAL:
            yield f"{name} ({trained}): {case['script']}", shown, "", None
        else:
            aimed = f"{aim:g} x" if aim else ""
            yield f"{name}: {side}", f"{shown}, {rival / seconds:.2f} x as fast", aimed, _reached(rival / seconds, aim)


def _memory_rows(
    name: str, case: Mapping[str, Any], sides: Mapping[str, list[Run]]
) -> Iterator[tuple[str, str, str, bool | None]]:
    figure = "gpu_mib" if case["device"] == "cuda" else "peak_mib"
    rival, limit = median(sides[RIVAL], figure), case["share_of_memory"]
    yield f"{name}: {RIVAL}, peak memory", f"{rival:,.0f} MiB", "", None
    for side in (MERGED, KEPT):
        peak = median(sides[side], figure)
        shown, aimed = f"{peak:,.0f} MiB, {peak / rival:.2f} of it", f"{limit:g}" if limit else ""
        yield f"{name}: {side}, peak memory", shown, aimed, peak <= limit * rival if limit else None


def _reached(ratio: float, aim: float | None) -> bool | None:
    return None if aim is None else ratio >= aim


if __name__ == "__main__":
    main()
