"""What a preview costs beyond the network: `python -m benchmarks.preview`.

Bare are four forwards of the U-Net, with both vectors beside its weights, and one decoding, nothing else. A preview is
all that a warm painter does for one picture at new strengths: claim the job, resolve the recipe, check it, paint, save
the picture with its record, register it. They take turns. `paint` is the painting alone. The base without vectors shows
what two rank-64 vectors cost at run time. A preview's overhead is what it takes beyond the forwards and the decoding of
its own, clocked inside it: those of another turn differ by more than that at SD-1.5's shape.

From request to picture is a strength changed through the queue: submitted here, painted in the painter's process,
waited for here. Beside it diffusers, as a script that is started again: from_pretrained, load_lora_weights twice,
set_adapters, the same picture; its imports are not counted.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch

from arithmetic import attachments
from benchmarks.arithmetic_inputs import command_line, note, rounded, table_lines
from benchmarks.studios import PROMPT, STEPS, Studio, clocked, opened
from benchmarks.subprocesses import Run, watched
from distill_jobs import Painter
from sampling import attach, detach, load_pipeline, paint, set_strengths
from sampling.beginnings import noise_for
from sampling.painting import latent_shape
from sampling.prompts import embed
from sampling.settings import Settings
from workbench.painting.jobs import queued_preview, submit_preview
from workbench.recipes.resolving import resolve_recipe

BARE, PLAIN, PAINT, PREVIEW = "bare", "bare without vectors", "paint", "preview"
INSIDE = "forwards and decoding of the preview"
REQUEST, FRESH = "request to picture", "diffusers afresh"
OVERHEAD_LIMITS = {"shapes": 0.10, "sd15": 0.02}
REQUEST_LIMIT_S = {"shapes": 1.0}
TITLES = {"shapes": "shapes, 64 pixels", "sd15": "SD-1.5's shape, 512 pixels"}
TINY_PIXELS = 64
WARMING = 2

Times = dict[str, list[float]]


def main() -> None:
    """Measure on the shapes base, then at SD-1.5's shape."""
    parser = command_line(__doc__, runs=20)
    parser.add_argument("--large-runs", type=int, default=3, help="at SD-1.5's shape; 0 leaves it out")
    options = parser.parse_args()
    figures = {}
    for family, runs in (("shapes", options.runs), ("sd15", options.large_runs)):
        if runs:
            with tempfile.TemporaryDirectory(dir=options.folder) as name:
                pixels = TINY_PIXELS if options.tiny else 512
                with opened(Path(name), family, resolution=pixels, tiny=options.tiny) as studio:
                    figures[family] = measure(studio, runs)
    libraries = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    note(options, {"libraries": libraries, "figures": rounded(figures)}, print_table)


def measure(studio: Studio, runs: int) -> Times:
    """Name -> seconds of its runs."""
    times = forwards(studio, runs)
    with painter_process(studio):
        times[REQUEST] = requests(studio, runs)
    return {**times, FRESH: afresh(studio, min(runs, 3))}


def forwards(studio: Studio, runs: int) -> Times:
    """Bare forwards, the painting and the whole preview in turns, each at its own strengths."""
    pipe, painter = load_pipeline(studio.base), studio.painter()
    resolved = resolve_recipe(studio.registry, studio.recipe(0.5), None)
    terms = attachments(resolved.bound.combination)
    times: Times = {PLAIN: [clocked(lambda: bare(pipe)) for _ in range(WARMING + runs)][WARMING:]}
    attach(pipe, {term.name: term.source for term in terms})
    names = [term.name for term in terms]
    times |= {BARE: [], PAINT: [], PREVIEW: [], INSIDE: []}
    for turn in range(WARMING + runs):
        strength = 0.5 + turn / 100
        set_strengths(pipe, dict.fromkeys(names, strength))
        job = submit_preview(studio.registry, studio.recipe(strength), [PROMPT], solver="lcm", steps=STEPS)
        took = {
            BARE: clocked(lambda: bare(pipe)),
            PAINT: clocked(lambda: paint(pipe, [PROMPT], solver="lcm", steps=STEPS, guidance=1.0, seeds=[0])),
        }
        with clocked_inside(pipeline_of(studio, painter)) as inside:
            took[PREVIEW] = studio.finished(painter, job)
        took[INSIDE] = sum(inside)
        for name in took if turn >= WARMING else ():
            times[name].append(took[name])
    detach(pipe)
    return times


def pipeline_of(studio: Studio, painter: Painter) -> Any:
    """The pipeline that the painter paints with."""
    key = (studio.registry.get("base").digest, "cpu", "none")
    return painter.shelf.get(key, lambda: load_pipeline(studio.base))


@contextmanager
def clocked_inside(pipe: Any) -> Iterator[list[float]]:
    """Seconds that each forward of its U-Net and of its VAE's decoder takes meanwhile."""
    began: list[float] = []
    seconds: list[float] = []
    hooks = []
    for network in (pipe.unet, pipe.vae.decoder):
        hooks.append(network.register_forward_pre_hook(lambda *_: began.append(time.perf_counter())))
        hooks.append(network.register_forward_hook(lambda *_: seconds.append(time.perf_counter() - began.pop())))
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def bare(pipe: Any) -> None:
    """The forwards and the decoding of one picture, whatever they give."""
    condition = embed(pipe, [PROMPT]).arguments()
    z = noise_for([0], latent_shape(pipe))
    for t in Settings("lcm", STEPS, 1.0).scheduler(pipe).timesteps:
        pipe.unet(z, t, **condition)
    pipe.vae.decode(z / pipe.vae.config.scaling_factor)


def requests(studio: Studio, runs: int) -> list[float]:
    """Seconds from asking for new strengths until the picture is there, warm."""
    strengths = count(1)

    def ask() -> None:
        recipe = studio.recipe(0.5 + next(strengths) / 1000)
        queued_preview(studio.registry, recipe, [PROMPT], solver="lcm", steps=STEPS, timeout=600)

    return [clocked(ask) for _ in range(WARMING + runs)][WARMING:]


def afresh(studio: Studio, runs: int) -> list[float]:
    """Seconds until a new diffusers pipeline has loaded base and vectors and painted one picture."""
    return [diffusers(studio, [[0.5, 1.0]], fresh=True)["seconds"] for _ in range(runs)]


@contextmanager
def painter_process(studio: Studio) -> Iterator[None]:
    """Inside, a `tau worker` paints this registry's previews."""
    home = studio.registry.home
    command = [sys.executable, "-m", "ui.cli.main", "--home", str(home), "worker", "--lanes", "interactive"]
    with (home / "bench-painter.log").open("wb") as log:
        worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ))
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(60)


def diffusers(studio: Studio, cells: list[list[float]], *, fresh: bool) -> Run:
    """One run of a plain diffusers pipeline."""
    command = [sys.executable, "-m", "benchmarks.diffusers_painting", "--base", str(studio.base)]
    command += ["--vectors", *map(str, studio.vectors.values()), "--cells", json.dumps(cells)]
    command += ["--prompt", PROMPT, "--steps", str(STEPS), *(["--fresh"] if fresh else [])]
    return watched(command, dict(os.environ))


def print_table(document: Mapping[str, Any]) -> None:
    """Medians, the overhead and the request as a Markdown table."""
    libraries = document["libraries"]
    print(f"{document['machine']}, torch {libraries['torch']}, {libraries['threads']} threads\n")
    rows = [row for family, times in document["figures"].items() for row in _rows(family, times)]
    print(table_lines(rows))


def _rows(family: str, times: Mapping[str, list[float]]) -> Iterator[tuple[str, str, str, bool | None]]:
    middle = {name: statistics.median(own) for name, own in times.items()}
    title, limit = TITLES[family], OVERHEAD_LIMITS[family]
    yield f"{title}: {STEPS} forwards and the decoding, without vectors", _shown(middle[PLAIN]), "", None
    yield f"{title}: {STEPS} forwards and the decoding, bare", _shown(middle[BARE]), "", None
    over = middle[PAINT] / middle[BARE] - 1
    yield f"{title}: `paint`", f"{_shown(middle[PAINT])}, {over:+.1%}", "", None
    over = statistics.median(whole / own - 1 for whole, own in zip(times[PREVIEW], times[INSIDE], strict=True))
    yield f"{title}: the preview, warm", f"{_shown(middle[PREVIEW])}, {over:+.1%}", f"{limit:.0%}", over <= limit
    aim = REQUEST_LIMIT_S.get(family)
    asked = times[REQUEST]
    shown = f"{_shown(middle[REQUEST])}, at most {_shown(max(asked))}"
    yield f"{title}: {REQUEST}", shown, f"{aim:g} s" if aim else "", max(asked) <= aim if aim else None
    fresh = f"{_shown(middle[FRESH])}, {middle[FRESH] / middle[REQUEST]:.1f} x"
    yield f"{title}: {FRESH}", fresh, "", None


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    main()
