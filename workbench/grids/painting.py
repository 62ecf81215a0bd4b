"""Paints the cells of a grid that are not painted yet, strength by strength, and keeps each as it is finished."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workbench.errors import ChangedInput, InvalidSettings
from workbench.grids.cells import Cell
from workbench.painting.init_pictures import init_of
from workbench.painting.plans import Opener, PaintingPlan, learn_from, named_device, plan_base
from workbench.painting.previewing import OnStep, OpenBase, keep, paint_pairs, record_of
from workbench.painting.profiles import Sampling
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Lease
    from sampling import Painting

BATCH = 16
"""Cells of one strength that are painted at once; the next ones are asked for only when these are kept."""

OnCell = Callable[[Cell, str], object]
"""Called with a cell and the sha256 of its picture, as soon as it is kept."""


@dataclass(frozen=True)
class CellsPainted:
    """What it took: cells asked for, painted now, U-Net evaluations of all pictures, and seconds."""

    cells: int
    painted: int
    evaluations: int
    seconds: float


def paint_cells(
    registry: "Registry",
    cells: Iterable[Cell],
    *,
    on_step: OnStep | None = None,
    on_cell: OnCell | None = None,
    cancelled: Callable[[], object] | None = None,
    open_base: OpenBase | None = None,
    device: str | None = None,
    lease: "Lease | None" = None,
    anew: bool = False,
) -> CellsPainted:
    """Paint every cell whose key has no picture yet, or all of them with `anew`.

    `open_base` gives a base's pipeline, which is otherwise loaded as `plan_cells` says, on `device`. Cells that differ
    in prompt and seed alone are painted together. `on_step` counts the denoising steps of all batches. What is kept
    stays when the painting is cancelled.

    Raises ChangedInput where a path no longer holds what was planned, InvalidSettings where the plan was made with
    other software, Cancelled, LeaseLost, and what `preview` raises.
    """
    began, asked = time.perf_counter(), {cell.key: cell for cell in cells}
    known = {} if anew else registry.pictures(asked)
    batches = list(_batches([cell for key, cell in asked.items() if key not in known]))
    open_base = open_base or Opener(registry, samplings_of(asked.values()), BATCH, device=device)
    steps, done, evaluations = sum(map(_steps, batches)), 0, 0
    for batch in batches:
        count = None if on_step is None else _after(done, steps, on_step)
        evaluations += _paint_batch(registry, batch, open_base, lease, count, cancelled, on_cell)
        done += _steps(batch)
    return CellsPainted(len(asked), sum(map(len, batches)), evaluations, time.perf_counter() - began)


def plan_cells(registry: "Registry", cells: Iterable[Cell], *, device: str | None = None) -> PaintingPlan | None:
    """How the cells that are not painted yet would be painted here now; None where all are.

    `device` is as `plan_painting` takes it. Raises UnknownDevice, and TooLittleMemory with what would fit.
    """
    asked = {cell.key: cell for cell in cells}
    known = registry.pictures(asked)
    alike: dict[tuple[str, Sampling], int] = {}
    for cell in (cell for key, cell in asked.items() if key not in known):
        alike[cell.base, cell.sampling] = alike.get((cell.base, cell.sampling), 0) + 1
    device = device or named_device()
    bases = {name: registry.get(name) for name in {name for name, _ in alike}}
    plans = [
        plan_base(registry, bases[name], [sampling], count, device=device) for (name, sampling), count in alike.items()
    ]
    if not plans:
        return None
    seconds = [plan.seconds for plan in plans]
    foreseen = None if None in seconds else sum(taken for taken in seconds if taken is not None)
    largest = max(plans, key=lambda plan: plan.needed_bytes)
    return replace(largest, pictures=sum(plan.pictures for plan in plans), seconds=foreseen)


def samplings_of(cells: Iterable[Cell]) -> list[Sampling]:
    """The different ways in which they are painted."""
    return list(dict.fromkeys(cell.sampling for cell in cells))


def steps_left(registry: "Registry", cells: Iterable[Cell]) -> int:
    """The denoising steps that painting them takes, those of cells that are painted already left out."""
    asked = {cell.key: cell for cell in cells}
    known = registry.pictures(asked)
    return sum(
        batch[0].sampling.settings().steps_taken
        for batch in _batches([c for key, c in asked.items() if key not in known])
    )


def _steps(batch: Sequence[Cell]) -> int:
    """The denoising steps that it takes."""
    return batch[0].sampling.settings().steps_taken


def _batches(cells: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
    """Cells of one strength, base and sampling, at most BATCH at once; in the order of the first of each."""
    alike: dict[object, list[Cell]] = {}
    for cell in cells:
        alike.setdefault((cell.pinned, cell.base, cell.sampling), []).append(cell)
    for together in alike.values():
        yield from (together[start : start + BATCH] for start in range(0, len(together), BATCH))


def _paint_batch(
    registry: "Registry",
    batch: Sequence[Cell],
    open_base: OpenBase,
    lease: "Lease | None",
    on_step: OnStep | None,
    cancelled: Callable[[], object] | None,
    on_cell: OnCell | None,
) -> int:
    """Paint and keep; the evaluations that it took."""
    resolved = _as_planned(registry, batch[0])
    version = resolved.required_base
    pipe = open_base(version)
    pairs = [(cell.prompt, cell.seed) for cell in batch]
    sampling = batch[0].sampling
    painting = paint_pairs(pipe, resolved, pairs, sampling, init_of(registry, sampling), on_step, cancelled)
    learn_from(registry, version, pipe, painting)
    for cell, sha256 in zip(batch, _kept(registry, resolved, batch, painting, lease), strict=True):
        if on_cell is not None:
            on_cell(cell, sha256)
    return painting.evaluations * len(batch)


def _kept(
    registry: "Registry", resolved: ResolvedRecipe, batch: Sequence[Cell], painting: "Painting", lease: "Lease | None"
) -> Iterator[str]:
    from sampling import save_png

    with TemporaryDirectory(prefix="tau-grid-") as folder:
        path = Path(folder) / "cell.png"
        for index, (cell, image) in enumerate(zip(batch, painting.images, strict=True)):
            record = record_of(resolved, cell.sampling, painting, index)
            save_png(image, path, record)
            yield keep(registry, resolved, record, cell.sampling, path, lease)


def _as_planned(registry: "Registry", cell: Cell) -> ResolvedRecipe:
    """The recipe of a cell, whose inputs are those that it was planned with."""
    if cell.current_key != cell.key:
        raise InvalidSettings(
            f"{cell.recipe}: planned with other versions of the software that paints than there are here; plan the "
            "grid here, or have it painted where it was planned"
        )
    resolved = resolve_recipe(registry, cell.pinned, cell.base)
    if str(resolved.locked) != cell.locked or resolved.required_base.digest != cell.base_digest:
        raise ChangedInput(f"{cell.pinned}: no longer what the grid was planned with; plan it again")
    return resolved


def _after(done: int, total: int, on_step: OnStep) -> OnStep:
    return lambda step, _: on_step(done + step, total)
