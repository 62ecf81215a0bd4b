"""Pictures that explain themselves: what a PNG says of itself, and the same painted anew from that alone."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import MissingInputs
from workbench.grids.files import grid_sheet
from workbench.grids.painting import BATCH, samplings_of
from workbench.grids.planning import GridPlan
from workbench.painting.init_pictures import init_of
from workbench.painting.plans import Opener
from workbench.painting.previewing import OnStep, OpenBase, paint_pairs, record_of
from workbench.painting.profiles import Sampling
from workbench.recipes.references import content_digest, is_path
from workbench.recipes.resolving import resolve_recipe

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry import Registry

GRID = "grid"


@dataclass(frozen=True)
class Recalled:
    """What a picture says of itself, and what of it is here."""

    record: Mapping[str, Any]
    recipe: str
    """In references that this registry finds: digests, or paths that still hold the same bytes."""
    base: str
    prompt: str
    seed: int
    sampling: Sampling
    missing: tuple[str, ...]
    """What is not here, each with its sha256; nothing can be painted without it."""


@dataclass(frozen=True)
class Repainted:
    """A picture painted anew, beside the one that it was read from."""

    image: "Image"
    record: Mapping[str, Any]
    is_equal: bool
    """Every pixel."""
    pixels: int
    """How many differ."""
    largest: int
    """The largest difference of a channel, 0 to 255."""
    notes: tuple[str, ...]
    """What is another than it was: software, threads, kernels, size."""


def recall(path: Path) -> dict[str, Any]:
    """The record inside a picture, or inside a grid's sheet (its `grid` holds every cell).

    Raises NoRecord, RecordRefused, FileNotFoundError.
    """
    from sampling import read_png, read_record

    record = read_record(path)
    return record if GRID in record else read_png(path)


def recalled_grid(path: Path) -> GridPlan | None:
    """The grid whose sheet this is; None for a single picture. Raises as `recall`, and InvalidSettings."""
    record = recall(path)
    return GridPlan.from_json(record[GRID]) if GRID in record else None


def restore(registry: "Registry", record: Mapping[str, Any]) -> Recalled:
    """Everything that a picture was painted from, as far as it is here. Raises RecordRefused."""
    from arithmetic import parse
    from sampling.errors import RecordRefused

    if unsaid := [name for name in ("locked", "recipe", "base") if not record.get(name)]:
        raise RecordRefused(f"the picture's record lacks {', '.join(unsaid)}; it was not painted from a registry.")
    missing: list[str] = []
    locked, typed = str(record["locked"]), str(record["recipe"])
    found = dict(zip(parse(locked).names(), parse(typed).names(), strict=True))
    places = {digest: _place(registry, digest, name, missing) for digest, name in found.items()}
    base, sampling = record["base"], Sampling.of_record(record)
    if not _has_version(registry, f"sha256:{base['sha256']}"):
        missing.append(f"the base {base['name']} sha256:{base['sha256']}")
    if sampling.init is not None and not _has_blob(registry, sampling.init):
        missing.append(f"the picture that it begins with, sha256:{sampling.init}")
    return Recalled(
        record=record,
        recipe=str(parse(locked).lock(lambda reference: places[reference])),
        base=f"sha256:{base['sha256']}",
        prompt=record["prompt"],
        seed=record["seed"],
        sampling=sampling,
        missing=tuple(dict.fromkeys(missing)),
    )


def repaint(
    registry: "Registry",
    path: Path,
    *,
    on_step: OnStep | None = None,
    cancelled: Callable[[], object] | None = None,
    open_base: OpenBase | None = None,
) -> Repainted:
    """Paint anew what the picture or the sheet of a grid at `path` says that it is, and compare every pixel.

    Keeps nothing. A picture is painted with as many others at once as it was, and with as many threads.

    Raises MissingInputs, NoRecord, RecordRefused, and what `preview` raises.
    """
    from PIL import Image

    from sampling.software import threads

    record = recall(path)
    if GRID in record:
        return _repaint_grid(registry, path, record, on_step, cancelled, open_base)
    found = restore(registry, record)
    if found.missing:
        raise MissingInputs(path, found.missing)
    resolved = resolve_recipe(registry, found.recipe, found.base)
    version = resolved.required_base
    company = record.get("batch", {"size": 1, "place": 0})
    pairs = [(found.prompt, found.seed)] * int(company["size"])
    pipe = (open_base or Opener(registry, [found.sampling], len(pairs)))(version)
    shared = record.get("machine", {}).get("threads")
    with threads(int(shared)) if shared else nullcontext():
        init = init_of(registry, found.sampling)
        painting = paint_pairs(pipe, resolved, pairs, found.sampling, init, on_step, cancelled)
        now = record_of(resolved, found.sampling, painting, int(company["place"]))
    with Image.open(path) as before:
        return _compared(before.convert("RGB"), painting.images[int(company["place"])], record, now)


def _repaint_grid(
    registry: "Registry",
    path: Path,
    record: Mapping[str, Any],
    on_step: OnStep | None,
    cancelled: Callable[[], object] | None,
    open_base: OpenBase | None,
) -> Repainted:
    """The sheet of the pictures that it was made of, each painted anew; those must be in the registry."""
    from PIL import Image

    pictures: Mapping[str, str] = record["pictures"]
    if lost := [f"the picture of a cell, sha256:{one}" for one in pictures.values() if not _has_blob(registry, one)]:
        raise MissingInputs(path, lost)
    plan = GridPlan.from_json(record[GRID])
    opened = open_base or Opener(registry, samplings_of(plan.cells), BATCH)
    anew: dict[str, Repainted] = {}
    for place, (key, sha256) in enumerate(pictures.items()):
        count = None if on_step is None else _of_all(on_step, place, len(pictures))
        found = registry.blob_path(sha256)
        anew[key] = repaint(registry, found, on_step=count, cancelled=cancelled, open_base=opened)
    sheet = grid_sheet(plan, {key: one.image for key, one in anew.items()})
    notes = tuple(dict.fromkeys(note for one in anew.values() for note in one.notes))
    with Image.open(path) as before:
        compared = _compared(before.convert("RGB"), sheet, {}, {})
    return replace(compared, record=record, notes=(*compared.notes, *notes))


def _of_all(on_step: OnStep, place: int, pictures: int) -> OnStep:
    """Counts the steps of one picture among those of all, as if they had equally many."""
    return lambda step, total: on_step(place * total + step, pictures * total)


def _compared(before: "Image", image: "Image", record: Mapping[str, Any], now: Mapping[str, Any]) -> Repainted:
    import numpy as np

    notes = _differences(record, now)
    if before.size != image.size:
        note = f"it is {before.width}x{before.height}, painted anew {image.width}x{image.height}"
        return Repainted(image, now, False, image.width * image.height, 255, (note, *notes))
    apart = np.abs(np.asarray(before, dtype=np.int64) - np.asarray(image.convert("RGB"), dtype=np.int64)).max(axis=2)
    differing = int((apart > 0).sum())
    return Repainted(image, now, differing == 0, differing, int(apart.max()), notes)


def _differences(record: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What of the software and the machine is another now."""
    return tuple(
        f"{name} was {before}, is {now[group].get(name, 'not there')}"
        for group in ("versions", "machine")
        for name, before in record.get(group, {}).items()
        if now[group].get(name) != before
    )


def _place(registry: "Registry", digest: str, typed: str, missing: list[str]) -> str:
    """Where an input is found here; its digest where it is not, which is then missing."""
    if _has_version(registry, digest):
        return digest
    path = Path(typed).expanduser()
    if is_path(typed) and path.exists() and f"sha256:{content_digest(path)}" == digest:
        return str(path.resolve())
    missing.append(f"{typed} {digest}")
    return digest


def _has_version(registry: "Registry", digest: str) -> bool:
    from registry import NotFound

    try:
        registry.get(digest)
    except NotFound:
        return False
    return True


def _has_blob(registry: "Registry", sha256: str) -> bool:
    from registry import CorruptBlob, NotFound

    try:
        registry.blob_path(sha256)
    except (NotFound, CorruptBlob):
        return False
    return True


def write_repainted(repainted: Repainted, out: Path) -> Path:
    """Write what was painted anew, with its own record."""
    from sampling import save_png, save_sheet

    out.parent.mkdir(parents=True, exist_ok=True)
    (save_sheet if GRID in repainted.record else save_png)(repainted.image, out, repainted.record)
    return out
