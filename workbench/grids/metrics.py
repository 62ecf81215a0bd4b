"""What can be measured of painted cells without anybody's weights, and with a CLIP model that the user has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.grids.cells import Cell, Ground
from workbench.grids.painting import paint_cells
from workbench.painting.previewing import OnStep, OpenBase
from workbench.painting.profiles import Sampling
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry import Registry
    from registry.jobs import Lease
    from sampling import Judge

REFERENCE_STEPS = 50
"""Of DDIM: the many steps that a picture in few is compared with."""

USUAL_GUIDANCE = 7.5
"""Of the reference, where neither the cell has any nor its acceleration vector says which it was distilled at."""

Metrics = dict[str, Any]
"""Name -> number, None where there is none; `NAME_why` says why. `reference` is the key of the reference's picture."""


@dataclass(frozen=True)
class _Measured:
    """A cell, and its picture as the registry keeps it."""

    cell: Cell
    image: "Image"


def measure_cells(
    registry: "Registry",
    cells: Iterable[Cell],
    *,
    clip: Path | None = None,
    on_step: OnStep | None = None,
    cancelled: Callable[[], object] | None = None,
    open_base: OpenBase | None = None,
    device: str | None = None,
    lease: "Lease | None" = None,
) -> dict[str, Metrics]:
    """Key -> what was measured of each painted cell, which is kept with its picture; what is not painted is left out.

    sharpness: energy of the Laplacian. attributes: share of what the prompt states that the base's judge reads.
    agreement: 1 - MSE / Var against the reference from the same noise, which is the recipe without its acceleration
    vectors, painted by 50 steps of DDIM and kept like any cell. clip_score: with the CLIP model in `clip`.

    Raises EvaluationRefused for a folder that is no CLIP, JudgeUnreadable, and what `paint_cells` raises.
    """
    asked = {cell.key: cell for cell in cells}
    painted = [_Measured(asked[key], _image(registry, one.picture)) for key, one in registry.pictures(asked).items()]
    references = {one.cell.key: reference_of(registry, one.cell) for one in painted if not why_none(one.cell)}
    paint_cells(
        registry,
        references.values(),
        on_step=on_step,
        cancelled=cancelled,
        open_base=open_base,
        device=device,
        lease=lease,
    )
    found = {one.cell.key: {**_sharpness(one), **_agreement(registry, one, references)} for one in painted}
    for key, judged in _attributes(registry, painted).items():
        found[key] |= judged
    for key, scored in _clip_scores(clip, painted).items():
        found[key] |= scored
    for key, metrics in found.items():
        registry.record_metrics(key, metrics)
    return found


def why_none(cell: Cell) -> str | None:
    """Why there is no endpoint to compare a cell with; None where there is one."""
    from sampling import find_solver

    if find_solver(cell.sampling.solver).injects_noise(cell.sampling.steps, cell.sampling.eta):
        return f"{cell.sampling.solver} injects fresh noise, so that it has no one endpoint"
    return None


def reference_of(registry: "Registry", cell: Cell) -> Cell:
    """The many-step picture that a cell stands for: its recipe without acceleration vectors, from the same noise."""
    resolved = resolve_recipe(registry, cell.pinned, cell.base)
    slow = resolve_recipe(registry, _without_acceleration(resolved), cell.base)
    sampling = Sampling(
        solver="ddim",
        steps=max(REFERENCE_STEPS, cell.sampling.steps),
        guidance=_guidance(resolved, cell.sampling),
        width=cell.sampling.width,
        height=cell.sampling.height,
        negative=cell.sampling.negative,
        init=cell.sampling.init,
        init_strength=cell.sampling.init_strength,
    )
    return Cell.at((cell.panel, cell.row, cell.column), Ground.of(slow), cell.prompt, cell.seed, sampling)


def _without_acceleration(resolved: ResolvedRecipe) -> str:
    """The terms that are no acceleration vector; the base alone where none is left."""
    kept = [term for term in resolved.recipe.terms if not _is_acceleration(resolved, str(term.atom))]
    return str(replace(resolved.recipe, terms=tuple(kept))) if kept else resolved.required_base.ref


def _is_acceleration(resolved: ResolvedRecipe, reference: str) -> bool:
    found = next((one for one in resolved.inputs if one.reference == reference), None)
    return found is not None and found.version is not None and found.version.kind == "acceleration"


def _guidance(resolved: ResolvedRecipe, sampling: Sampling) -> float:
    """The cell's own; where it has none, what its acceleration vector was distilled at, which is w + 1."""
    fast = [version for _, _, version in resolved.vectors if version is not None and version.kind == "acceleration"]
    if sampling.guidance > 1 or not fast:
        return sampling.guidance
    distilled = fast[0].sampling.get("distilled_w")
    return float(distilled) + 1 if isinstance(distilled, int | float) else USUAL_GUIDANCE


def _sharpness(one: _Measured) -> Metrics:
    from sampling import sharpness

    return {"sharpness": sharpness(one.image)}


def _agreement(registry: "Registry", one: _Measured, references: Mapping[str, Cell]) -> Metrics:
    from sampling import agreement

    why = why_none(one.cell)
    if why is not None:
        return {"agreement": None, "agreement_why": why}
    reference = references[one.cell.key]
    kept = registry.pictures([reference.key])[reference.key]
    try:
        value = agreement(one.image, _image(registry, kept.picture))
    except ValueError as error:
        return {"agreement": None, "agreement_why": str(error), "reference": reference.key}
    return {"agreement": value, "reference": reference.key}


def _attributes(registry: "Registry", painted: Sequence[_Measured]) -> dict[str, Metrics]:
    """What the bases' judges read of what the prompts state."""
    found: dict[str, Metrics] = {}
    for base in dict.fromkeys(one.cell.base for one in painted):
        mine = [one for one in painted if one.cell.base == base]
        found |= _judged(_judge(registry, base), mine)
    return found


def _judge(registry: "Registry", base: str) -> "Judge | None":
    from sampling import find_judge

    return find_judge(registry.folder(registry.get(base)))


def _judged(judge: "Judge | None", painted: Sequence[_Measured]) -> dict[str, Metrics]:
    from sampling import heads_right

    if judge is None:
        return {one.cell.key: {"attributes": None, "attributes_why": "the base carries no judge"} for one in painted}
    found: dict[str, Metrics] = {}
    readings = judge.read([one.image for one in painted])
    for one, reading in zip(painted, readings, strict=True):
        truth = stated(one.cell.prompt, judge.heads)
        if not truth:
            why = "the prompt is no caption of the base's world"
            found[one.cell.key] = {"attributes": None, "attributes_why": why}
            continue
        right = [bool(values[0]) for values in heads_right([reading], [truth]).values()]
        found[one.cell.key] = {"attributes": sum(right) / len(right)}
    return found


def stated(prompt: str, heads: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What a caption of the shapes world states of the judge's heads; nothing for any other prompt."""
    from demo import parse_caption

    try:
        attributes = parse_caption(prompt)._asdict()
    except ValueError:
        return {}
    return {head: value for head, value in attributes.items() if value in heads.get(head, ())}


def _clip_scores(folder: Path | None, painted: Sequence[_Measured]) -> dict[str, Metrics]:
    from distill_jobs.evaluation.perceptual import Perceptual

    if folder is None or not painted:
        return {}
    networks = Perceptual(None, folder)
    return {
        one.cell.key: {"clip_score": float(networks.of_each([one.image], [one.cell.prompt])["clip_score"][0])}
        for one in painted
    }


def _image(registry: "Registry", sha256: str) -> "Image":
    from PIL import Image

    with Image.open(registry.blob_path(sha256)) as image:
        return image.convert("RGB")
