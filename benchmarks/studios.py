"""Registries that painting is timed in: one base, two vectors of true shapes and random contents, and a painter.

The shapes base is the shipped one; that of SD-1.5's shape has random weights, since only its sizes count. Both vectors
adapt what LCM-LoRA adapts, as an acceleration of rank 64 does.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.distillation_bases import SD15, write_random_base
from benchmarks.synthetic import Draw, adapted_modules, write_vector
from demo import base_folder
from distill_jobs import Painter
from formats import architecture_of_folder
from registry import Registry
from registry.jobs import Job, Queue
from workbench.intake.importing import import_file
from workbench.jobs.kinds import JOB_KINDS

STYLE, FAST = "style", "fast"
KINDS = {STYLE: "style", FAST: "acceleration"}
RANK = 64
PROMPT = "a large red circle on a white background"
STEPS = 4
SD15_CHANNELS = (320, 640, 1280, 1280)
NARROWING = 8
"""What the widths of the tiny base of SD-1.5's shape are divided by."""


@dataclass(frozen=True)
class Studio:
    """A registry with a base, its folder, and the two vectors' files."""

    registry: Registry
    family: str
    base: Path
    vectors: dict[str, Path]

    def recipe(self, style: float, fast: float = 1.0) -> str:
        """Both vectors at those strengths."""
        return f"{style:.12g}*{STYLE} + {fast:.12g}*{FAST}"

    def painter(self) -> Painter:
        """A painter of this registry in this process; nothing is loaded yet."""
        return Painter(self.registry, JOB_KINDS, name="studio", lease_seconds=600.0)

    def finished(self, painter: Painter, job: Job) -> float:
        """Seconds that the painter takes for the job, which is the next one. Raises RuntimeError when it fails."""
        seconds = clocked(painter.take_one)
        done = Queue(self.registry).get(job.id)
        if done.state != "succeeded":
            raise RuntimeError(f"job {done.id} is {done.state}: {done.last_error}")
        return seconds


@contextmanager
def opened(folder: Path, family: str, *, resolution: int = 512, tiny: bool = False) -> Iterator[Studio]:
    """A studio in `folder`, of the family shapes or sd15; pictures of the latter have `resolution` pixels a side."""
    base = base_folder()
    if family != "shapes":
        whole = replace(SD15, unet={**SD15.unet, "block_out_channels": SD15_CHANNELS})
        base = write_random_base(folder / "base", whole.narrowed(NARROWING) if tiny else whole, resolution)
    with Registry.open(folder / "home") as registry:
        kept = import_file(registry, base, name="base", in_place=True)
        table = architecture_of_folder(base, kept.family or family)
        vectors = {}
        for seed, (name, kind) in enumerate(KINDS.items()):
            draw = Draw(seed, RANK, alpha=float(RANK))
            vectors[name] = write_vector(folder / f"{name}.safetensors", table, adapted_modules(table), draw)
            import_file(registry, vectors[name], name=name, kind=kind, base="base")
        yield Studio(registry, family, registry.folder(registry.get("base")), vectors)


def clocked(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
