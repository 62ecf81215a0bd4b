"""Baking: a base with vectors in its weights, as one checkpoint with its proof; and the base out of it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import NotBaked, UnsupportedRecipe
from workbench.naming import require_free
from workbench.painting.profiles import inherited_sampling
from workbench.recipes.architectures import Architectures
from workbench.recipes.references import Resolved, resolve_path
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe, stages_of, with_stages
from workbench.sums.checking import verdict_of
from workbench.sums.composing import findable, parent_of, provenance_edges

if TYPE_CHECKING:
    from arithmetic import BakeCertificate, Recipe, Resources, Verdict, Weights
    from registry import Registry, Version

KIND = "base"

VECTOR_KEY = "tauworks.vector"
LOCKED_VECTOR_KEY = "tauworks.vector_locked"
"""Where a baked file says what was added to its base, as typed and locked: enough to take it out again."""

OnTensor = Callable[[str, int, int], None]
"""Called with (what is being done, tensors done, tensors in all)."""


@dataclass(frozen=True)
class Baked:
    """A checkpoint, its proof, what was known before it, and its version where it was registered."""

    version: "Version | None"
    path: Path
    certificate: "BakeCertificate"
    verdict: "Verdict | None"
    """None for a sum of bases alone."""
    recipe: str


def bake(
    registry: "Registry | None",
    text: str,
    out: Path,
    *,
    base: str | None = None,
    dtype: str | None = None,
    shard_bytes: int | None = None,
    residual: Path | None = None,
    name: str | None = None,
    draft: bool = False,
    progress: OnTensor | None = None,
    cancelled: Callable[[], object] | None = None,
    resources: "Resources | None" = None,
) -> Baked:
    """Write the checkpoint that `text` describes in the layout of its first base, and prove it.

    Args:
        out: a folder that does not exist for a base in a folder, a file for one in a file.
        dtype: of the weights, the same as `| dtype(fp16)`; by default as the base has them.
        shard_bytes: cut the output into files of at most so many bytes.
        residual: where to write what `unbake` needs to give the base back, bit for bit.
        name: register the checkpoint as a base of that name.

    Raises RecipeError, BaseUndecided, ValidationRefused, BoundExceeded, Cancelled, OutputConflict; nothing is left
    behind then.
    """
    from arithmetic import DEFAULT_RESOURCES
    from arithmetic import bake as write

    used = resources or DEFAULT_RESOURCES
    text = with_stages(text, stages_of(dtype=dtype))
    resolved = resolve_recipe(registry, text, base, device=used.exact_device)
    verdict = _judged(registry, resolved)
    if name is not None and registry is None:
        raise UnsupportedRecipe(f"--name {name}: there is no registry to keep it in; make one: tau init")
    if name is not None and registry is not None:
        require_free(registry, name, KIND)
    certificate = write(
        bases_of(registry, resolved),
        resolved.bound.combination,
        out,
        recipe=str(resolved.recipe),
        locked=str(resolved.locked),
        dtype=_said_dtype(resolved),
        shard_bytes=shard_bytes,
        residual=residual,
        metadata=_vector_alone(resolved),
        inputs=_records(registry, resolved),
        resources=used,
        progress=progress,
        cancelled=cancelled,
    )
    version = None if name is None or registry is None else _register(registry, resolved, out, name, draft)
    return Baked(version, out, certificate, verdict, str(resolved.recipe))


def unbake(
    registry: "Registry | None",
    baked: Path,
    residual: Path,
    out: Path,
    *,
    progress: OnTensor | None = None,
    cancelled: Callable[[], object] | None = None,
    resources: "Resources | None" = None,
) -> dict[str, str]:
    """Write the base that `baked` was made from, bit for bit; the vectors are needed for it, the base is not.

    Returns the SHA-256 of each weight file. Raises NotBaked for a checkpoint that says of no vector what was added to
    it, ChangedInput, CertificateMismatch for another bake's residual, NotRestored, Cancelled.
    """
    from arithmetic import DEFAULT_RESOURCES
    from arithmetic import unbake as restore

    used = resources or DEFAULT_RESOURCES
    weights = open_checkpoint(registry, baked)
    said = said_of(weights)
    if VECTOR_KEY not in said:
        raise NotBaked(f"{baked}: says of no vector that was added to it; tau bake writes checkpoints that do")
    text = findable(registry, said[VECTOR_KEY], said[LOCKED_VECTOR_KEY])
    resolved = resolve_recipe(registry, text, tables=(weights.architecture,))
    return restore(
        weights,
        resolved.bound.combination,
        residual,
        out,
        resources=used,
        progress=progress,
        cancelled=cancelled,
    )


def verify_bake(
    registry: "Registry | None",
    baked: Resolved,
    *,
    recipe: str | None = None,
    base: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    resources: "Resources | None" = None,
) -> "BakeCertificate":
    """Prove a checkpoint against the bases and vectors of its recipe, or any tool's against those of `recipe`.

    Raises NotBaked for one without a recipe when none is given, ChangedInput, BoundExceeded.
    """
    from arithmetic import DEFAULT_RESOURCES
    from arithmetic import verify_bake as prove
    from arithmetic.certificate import LOCKED_KEY, RECIPE_KEY

    used = resources or DEFAULT_RESOURCES
    weights = Architectures(registry).open_checkpoint(baked)
    said = said_of(weights)
    if recipe is None and RECIPE_KEY not in said:
        raise NotBaked(f"{baked.named}: carries no recipe to prove it against; give one: --recipe 'base + 0.8*vector'")
    text = recipe or findable(registry, said[RECIPE_KEY], said[LOCKED_KEY])
    resolved = resolve_recipe(registry, text, base, device=used.exact_device)
    return prove(
        weights,
        bases_of(registry, resolved),
        resolved.bound.combination,
        recipe=str(resolved.recipe),
        locked=str(resolved.locked),
        inputs=_records(registry, resolved),
        progress=progress,
        resources=used,
    )


def open_checkpoint(registry: "Registry | None", path: Path) -> "Weights":
    """The weights at a path. Raises NotABase for anything that is no base."""
    return Architectures(registry).open_checkpoint(resolve_path(path))


def said_of(weights: "Weights") -> dict[str, str]:
    """What the headers of a checkpoint say, all of its files together."""
    return {key: text for file in weights.files for key, text in file.header.metadata.items()}


def bases_of(registry: "Registry | None", resolved: ResolvedRecipe) -> "Sequence[tuple[float, Weights]]":
    """The bases of a recipe with their coefficients: those in it, else the one that it stands on."""
    if resolved.bound.bases:
        return resolved.bound.bases
    return ((1.0, Architectures(registry).open_base(resolved.required_base)),)


def _judged(registry: "Registry | None", resolved: ResolvedRecipe) -> "Verdict | None":
    if resolved.bound.combination is None:
        return None
    verdict = verdict_of(registry, resolved, layout=None)
    verdict.require()
    return verdict


def _said_dtype(resolved: ResolvedRecipe) -> str | None:
    stages = (stage for stage in resolved.recipe.stages if stage.name == "dtype")
    return next((str(stage.arguments[0]) for stage in stages), None)


def _vector_alone(resolved: ResolvedRecipe) -> dict[str, str]:
    """The recipe without its bases, as typed and locked; nothing for a sum of bases alone."""
    if resolved.bound.combination is None:
        return {}
    kept = [place for place, term in enumerate(resolved.recipe.terms) if not resolved.is_base(term)]

    def without_bases(recipe: "Recipe") -> str:
        return str(replace(recipe, terms=tuple(recipe.terms[place] for place in kept)))

    return {VECTOR_KEY: without_bases(resolved.recipe), LOCKED_VECTOR_KEY: without_bases(resolved.locked)}


def _records(registry: "Registry | None", resolved: ResolvedRecipe) -> list[dict[str, Any]]:
    """Name, digest and coefficient of each base, then of each vector."""
    from arithmetic import inputs

    found = [*bases_of(registry, resolved), *(inputs(resolved.bound.combination) if resolved.bound.combination else ())]
    return [{"name": one.name, "sha256": one.sha256, "weight": weight} for weight, one in found]


def _register(registry: "Registry", resolved: ResolvedRecipe, out: Path, name: str, draft: bool) -> "Version":
    from registry import Origin, Parent

    bases = [(weight, base.name) for weight, base in bases_of(registry, resolved)]
    named = {found.named: parent_of(found) for found in resolved.inputs}
    baked = [Parent(named.get(ref, ref), "baked_into", weight, place) for place, (weight, ref) in enumerate(bases)]
    edges = provenance_edges(resolved) if resolved.bound.combination else ()
    return registry.add(
        out,
        kind=KIND,
        name=name,
        title=str(resolved.recipe),
        draft=draft,
        edges=(*baked, *(edge._replace(position=len(baked) + edge.position) for edge in edges)),
        origin=Origin("recipe", str(resolved.recipe)),
        sampling=inherited_sampling(resolved),
    )
