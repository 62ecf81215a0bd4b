"""Pictures of what a recipe paints, each carrying how it was made."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from workbench.painting.init_pictures import init_of, keep_init
from workbench.painting.keys import picture_key
from workbench.painting.plans import Opener, learn_from
from workbench.painting.profiles import Sampling, SamplingWords, chosen_sampling, is_accelerated
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe
from workbench.sums.checking import base_findings, verdict_of
from workbench.sums.composing import recipe_sha256

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from PIL.Image import Image

    from arithmetic import Finding, Vector
    from arithmetic.sources.source import Origin
    from registry import Registry, Version
    from registry.jobs import Lease
    from sampling import Painting

OnStep = Callable[[int, int], None]
"""Called with (denoising steps done, in all)."""

OpenBase = Callable[["Version"], "StableDiffusionPipeline"]
"""Called with a base. The recipe's vectors stay on the pipeline: given again, it loads what is new."""

SHEET = "sheet.png"


@dataclass(frozen=True)
class Preview:
    """Painted pictures and where they lie; `path` is the picture, or the contact sheet of several."""

    images: "tuple[Image, ...]"
    records: tuple[Mapping[str, Any], ...]
    paths: tuple[Path, ...]
    path: Path
    digests: tuple[str, ...]
    """Under which the registry keeps the pictures."""
    evaluations: int
    seconds: float
    unfinished_hint: str | None
    """What to change when the settings cannot give a finished picture."""
    findings: "tuple[Finding, ...]"
    """What is known of the sum, and of how its vectors want to be sampled."""
    sampling: Sampling
    """As it was painted."""

    @property
    def record(self) -> Mapping[str, Any]:
        """How the first picture was made."""
        return self.records[0]


def preview(
    registry: "Registry",
    text: str,
    prompts: Sequence[str],
    *,
    base: str | None = None,
    sampling: Sampling | None = None,
    seeds: Sequence[int] = (0,),
    out: Path | None = None,
    on_step: OnStep | None = None,
    cancelled: Callable[[], object] | None = None,
    open_base: OpenBase | None = None,
    device: str | None = None,
    lease: "Lease | None" = None,
    **said: Unpack[SamplingWords],
) -> Preview:
    """Paint every prompt with every seed, save the pictures and record them in the registry.

    How is said as a whole (`sampling`) or word by word (`said`); the rest is as the recipe's vectors were made for.
    `out` is the file of one picture, or the folder of several; by default both go below the registry's home.
    `open_base` gives the base's pipeline, which is otherwise loaded as `plan_painting` says, on `device`. With `lease`
    the pictures are the work of a job: once its lease is lost none is recorded.

    What is painted is what `compose` and `bake` would write, to one level of 255 in each channel: each term of the
    recipe, with its scopes, stages and methods, stands beside the base's weights at its lambda.

    Raises BaseUndecided, UnsupportedRecipe for a sum of bases, ValidationRefused for vectors of another architecture,
    NotAttachable for a term that only the base's own weights could hold, UnsupportedSetting, Cancelled.
    """
    resolved = resolve_recipe(registry, text, base)
    sampling = keep_init(registry, chosen_sampling(registry, resolved, sampling, **said))
    require_fitting(resolved)
    findings = findings_of(registry, resolved, sampling)
    base_version = resolved.required_base
    pairs = [(prompt, seed) for prompt in prompts for seed in seeds]
    pipe = (open_base or Opener(registry, [sampling], len(pairs), device=device))(base_version)
    painting = paint_pairs(pipe, resolved, pairs, sampling, init_of(registry, sampling), on_step, cancelled)
    learn_from(registry, base_version, pipe, painting)
    records = tuple(record_of(resolved, sampling, painting, index) for index in range(len(pairs)))
    place = out or registry.home / "previews" / recipe_sha256(resolved)[:16]
    paths = _save(painting.images, records, place, is_file=out is not None and len(pairs) == 1)
    digests = tuple(
        keep(registry, resolved, record, sampling, path, lease) for record, path in zip(records, paths, strict=False)
    )
    return Preview(
        tuple(painting.images),
        records,
        paths[: len(pairs)],
        paths[-1],
        digests,
        painting.evaluations,
        painting.seconds,
        _unfinished_hint(registry, resolved, sampling),
        findings,
        sampling,
    )


def require_fitting(resolved: ResolvedRecipe) -> None:
    """Raises what there is to raise before a base is loaded: BaseUndecided, ValidationRefused, UnsupportedRecipe."""
    from arithmetic import Verdict

    _ = resolved.required_base
    Verdict(base_findings(resolved)).require()


def findings_of(registry: "Registry", resolved: ResolvedRecipe, sampling: Sampling) -> "tuple[Finding, ...]":
    """What there is to know before painting: hints alone, since nothing is written that would outlast a mistake."""
    from arithmetic import SamplingSettings

    if resolved.bound.combination is None:
        return ()
    settings = SamplingSettings(**sampling.judged)
    return verdict_of(registry, resolved, layout=None, settings=settings).findings


def paint_pairs(
    pipe: "StableDiffusionPipeline",
    resolved: ResolvedRecipe,
    pairs: Sequence[tuple[str, int]],
    sampling: Sampling,
    init: "Image | None",
    on_step: OnStep | None,
    cancelled: Callable[[], object] | None,
) -> "Painting":
    """A picture of the recipe for each (prompt, seed); its vectors stay on the pipeline for the next one."""
    from arithmetic import attachments
    from sampling import hold, paint

    hold(pipe, attachments(resolved.bound.combination) if resolved.bound.combination else ())
    return paint(
        pipe,
        [prompt for prompt, _ in pairs],
        seeds=[seed for _, seed in pairs],
        init=init,
        **asdict(sampling.settings()),
        on_step=on_step,
        cancelled=cancelled,
    )


def record_of(resolved: ResolvedRecipe, sampling: Sampling, painting: "Painting", index: int) -> dict[str, Any]:
    """Everything that it takes to paint the picture again; the inputs are all files that the recipe reads."""
    from arithmetic import inputs

    base, combination = resolved.required_base, resolved.bound.combination
    width, height = painting.images[0].size
    return {
        "prompt": painting.settings["prompts"][index],
        "seed": painting.settings["seeds"][index],
        **sampling.said,
        "width": width,
        "height": height,
        "versions": painting.settings["versions"],
        "machine": painting.machine,
        "batch": painting.company(index),
        "recipe": str(resolved.recipe),
        "locked": str(resolved.locked),
        "base": {"name": base.ref, "sha256": base.digest},
        "inputs": [_input(resolved, origin, weight) for weight, origin in inputs(combination)] if combination else [],
    }


def _input(resolved: ResolvedRecipe, origin: "Origin", weight: float) -> dict[str, Any]:
    """A vector also by the hash of its tensors; of a base, whose difference was taken, the digest says enough."""
    from arithmetic import Vector

    named = {"name": origin.name, "weight": weight, "sha256": origin.sha256}
    return {**named, "tensor_hash": _tensor_hash(resolved, origin)} if isinstance(origin, Vector) else named


def _tensor_hash(resolved: ResolvedRecipe, vector: "Vector") -> str | None:
    """As it was found when the vector was registered; a file at a path is read for it."""
    from formats import digest

    version = next((version for _, one, version in resolved.vectors if one is vector), None)
    known = (version.facts or {}).get("hashes") if version else None
    if known and known["sha256"] == vector.sha256:
        return str(known["tensor_hash"])
    return digest(vector.weights_path).tensor_hash


def _save(
    images: Sequence["Image"], records: Sequence[Mapping[str, Any]], place: Path, *, is_file: bool
) -> tuple[Path, ...]:
    """The pictures' files, and that of the contact sheet when there are several; all of them or none."""
    from sampling import contact_sheet, save_png

    with _removed_on_failure() as written:
        if is_file:
            place.parent.mkdir(parents=True, exist_ok=True)
            written.append(place)
            save_png(images[0], place, records[0])
            return (place,)
        place.mkdir(parents=True, exist_ok=True)
        for image, record in zip(images, records, strict=True):
            path = place / _file_name(record)
            written.append(path)
            save_png(image, path, record)
        if len(images) > 1:
            written.append(place / SHEET)
            rows = _rows(images, records)
            contact_sheet(rows, title=str(records[0]["recipe"])).save(place / SHEET)
        return tuple(written)


@contextmanager
def _removed_on_failure() -> Iterator[list[Path]]:
    """A list of files to take away again when what follows does not complete."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _file_name(record: Mapping[str, Any]) -> str:
    words = "-".join(re.findall(r"[a-z0-9]+", record["prompt"].lower()))[:60] or "unprompted"
    return f"{words}-{record['solver'].replace('+', 'p')}{record['steps']}-seed{record['seed']}.png"


def _rows(images: Sequence["Image"], records: Sequence[Mapping[str, Any]]) -> list[tuple[str, list["Image"]]]:
    """Contact-sheet rows: a prompt each, its seeds across."""
    rows: dict[str, list[Image]] = {}
    for image, record in zip(images, records, strict=True):
        rows.setdefault(record["prompt"], []).append(image)
    return list(rows.items())


def keep(
    registry: "Registry",
    resolved: ResolvedRecipe,
    record: Mapping[str, Any],
    sampling: Sampling,
    path: Path,
    lease: "Lease | None" = None,
) -> str:
    """Keep a picture: of the version when the recipe is a version as it stands, else of the recipe; its sha256."""
    sha256 = recipe_sha256(resolved)
    registry.add_recipe(str(resolved.recipe), str(resolved.locked), sha256)
    subject = resolved.sole_version.ref if resolved.sole_version else f"recipe:{sha256}"
    base = resolved.required_base.digest
    key = picture_key(str(resolved.locked), base, record["prompt"], record["seed"], sampling)
    return registry.add_preview(subject, dict(record), path, {}, key=key, lease=lease).picture


def _unfinished_hint(registry: "Registry", resolved: ResolvedRecipe, sampling: Sampling) -> str | None:
    if sampling.solver not in ("lcm", "tcd") or is_accelerated(registry, resolved):
        return None
    return (
        f"no acceleration vector takes part, so {sampling.steps} steps of {sampling.solver} are not enough; "
        "add one to the recipe, or paint with --solver dpm++ --steps 25 --guidance 7.5"
    )
