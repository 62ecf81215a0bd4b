"""Compositions: the exact weighted sum of vectors as one file with its proof, and that proof taken again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workbench.errors import ChangedInput, NoRegistry, NotCertified
from workbench.naming import require_free
from workbench.painting.profiles import inherited_sampling
from workbench.recipes.references import Resolved, is_path, resolve, resolve_path, resolve_target
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe, with_stages
from workbench.sums.checking import CheckReport, check_resolved, output_layout
from workbench.sums.measuring import measure_version

if TYPE_CHECKING:
    from arithmetic import Certificate, Resources, Stage, Verdict
    from registry import Parent, Registry, Version
    from registry.jobs import Lease

KIND = "composition"

OnModule = Callable[[str, int, int], None]
"""Called with (what is being done, modules done, modules in all)."""


@dataclass(frozen=True)
class Composition:
    """A composed file, its proof, what was known before it, and its version where it was registered."""

    version: "Version | None"
    path: Path
    certificate: "Certificate"
    report: CheckReport


def compose(
    registry: "Registry | None",
    text: str,
    *,
    out: Path | None = None,
    name: str | None = None,
    layout: str = "kohya",
    stages: "tuple[Stage, ...]" = (),
    tool: str | None = None,
    base: str | None = None,
    draft: bool = False,
    progress: OnModule | None = None,
    cancelled: Callable[[], object] | None = None,
    resources: "Resources | None" = None,
    lease: "Lease | None" = None,
) -> Composition:
    """Write the exact sum that `text` describes, prove it, and register it.

    With `out` the file and its certificate are written there, and registered only if `name` is given; without, the
    file lives in the registry, under `name` or the names of its terms. `stages` are the same as `| rank(64)` and the
    like at the recipe's end; `tool` wraps the sum in what another tool makes of it, as `kohya-merge(...)` does.

    Without a registry, references are paths, and `out` must be given.

    `cancelled` is asked before each module; a true answer stops the work. `resources` are the device, threads and
    memory to use. With `lease` the version is the work of a job, refused once the lease is lost.

    Raises ValidationRefused for a verdict with errors, BoundExceeded for a file that misses its sum, Cancelled; nothing
    is left behind then, nor after an interruption.
    """
    from arithmetic import DEFAULT_RESOURCES

    used = resources or DEFAULT_RESOURCES
    resolved = resolve_recipe(registry, with_stages(text, stages), base, tool=tool, device=used.exact_device)
    report = check_resolved(registry, resolved, layout=layout)
    report.verdict.require()
    if out is not None and name is None:
        certificate = _write(resolved, report.verdict, out, layout, progress, cancelled, used)
        return Composition(None, out, certificate, report)
    if registry is None:
        raise NoRegistry(f"{name or text}: there is no registry to keep it in; make one: tau init, or write a file: -o")
    name = name or name_of(resolved)
    require_free(registry, name, KIND)
    with _destination(registry, out, layout) as path:
        certificate = _write(resolved, report.verdict, path, layout, progress, cancelled, used)
        version = _register(registry, resolved, certificate, path, name, draft, lease)
        measure_version(registry, version)
        return Composition(version, out or registry.file(version), certificate, report)


def verify(
    registry: "Registry | None",
    target: str,
    *,
    recipe: str | None = None,
    base: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], object] | None = None,
    resources: "Resources | None" = None,
) -> "Certificate":
    """Prove a file (a path) or version against the inputs of a recipe: its own, or `recipe`.

    With `recipe` any tool's file can be proved: its name, layout and alphas are its own affair, the sum is not.

    Raises NotCertified for a file without a recipe when none is given, ChangedInput, UnknownInRecipe for an input that
    is gone, CertificateMismatch, BoundExceeded, Cancelled.
    """
    from arithmetic import DEFAULT_RESOURCES, certify, verify

    used = resources or DEFAULT_RESOURCES
    found = resolve_target(registry, target)
    text = certified_recipe(registry, found.path) if recipe is None else recipe
    resolved = resolve_recipe(registry, text, base, device=used.exact_device)
    prove = verify if recipe is None else certify
    notify = stoppable(progress, cancelled)
    certificate = prove(found.path, resolved.combination, progress=notify, resources=used)
    if found.version is not None and registry is not None:
        _require_recorded(registry, found.version, certificate)
    return certificate


def stoppable(
    progress: Callable[[int, int], None] | None, cancelled: Callable[[], object] | None
) -> Callable[[int, int], None]:
    """What reports (done, in all) and raises Cancelled once `cancelled` says so."""
    from arithmetic.progress import watcher

    told = None if progress is None else lambda _, done, total: progress(done, total)
    return watcher(told, cancelled)("reading")


def _write(
    resolved: ResolvedRecipe,
    verdict: "Verdict",
    path: Path,
    layout: str,
    progress: OnModule | None,
    cancelled: Callable[[], object] | None,
    resources: "Resources",
) -> "Certificate":
    from arithmetic import compose

    return compose(
        resolved.combination,
        path,
        layout=output_layout(layout),
        dtype=resolved.recipe.dtype,
        recipe=str(resolved.recipe),
        locked=str(resolved.locked),
        verdict=verdict,
        progress=progress,
        cancelled=cancelled,
        resources=resources,
    )


@contextmanager
def _destination(registry: "Registry", out: Path | None, layout: str) -> Iterator[Path]:
    """Where to write: `out`, or a place inside the registry's home that is gone afterwards."""
    if out is not None:
        yield out
        return
    with TemporaryDirectory(prefix=".composing-", dir=registry.home) as folder:
        yield Path(folder) / ("composition" if layout == "peft" else "composition.safetensors")


def _register(
    registry: "Registry",
    resolved: ResolvedRecipe,
    certificate: "Certificate",
    path: Path,
    name: str,
    draft: bool,
    lease: "Lease | None",
) -> "Version":
    from registry import Origin

    recipe = registry.add_recipe(str(resolved.recipe), str(resolved.locked), recipe_sha256(resolved))
    words = [word for _, _, version in resolved.vectors if version for word in version.trigger_words]
    version = registry.add(
        path,
        kind=KIND,
        name=name,
        title=str(resolved.recipe),
        draft=draft,
        base=resolved.base.ref if resolved.base else None,
        edges=provenance_edges(resolved),
        origin=Origin("recipe", str(resolved.recipe)),
        sampling=inherited_sampling(resolved),
        trigger_words=tuple(dict.fromkeys(words)),
        recommended_strength=1.0,
        recipe=recipe.sha256,
        lease=lease,
    )
    registry.add_certificate(version.ref, json.loads(certificate.to_json()))
    return version


def _require_recorded(registry: "Registry", version: "Version", certificate: "Certificate") -> None:
    """The proof that was recorded with a version must be about the bytes that it has now."""
    from arithmetic import CertificateMismatch

    kept = registry.certificate(version.ref)
    if kept is not None and kept["file_sha256"] != certificate.file_sha256:
        raise CertificateMismatch(
            f"{version.ref}: certified with sha256 {kept['file_sha256']}, its file has {certificate.file_sha256} now. "
            "The stored bytes were changed; compose it again."
        )


def recipe_sha256(resolved: ResolvedRecipe) -> str:
    """The digest that a recipe is known by: of its locked text."""
    return hashlib.sha256(str(resolved.locked).encode()).hexdigest()


def name_of(resolved: ResolvedRecipe) -> str:
    """The name of a composition that was given none: those of its terms, joined; `a-composed` of one term."""
    from registry.names import slug_of

    terms = [found.name for found in resolved.inputs if found.version is None or found.version.kind != "base"]
    return slug_of("-".join(terms if len(terms) > 1 else [*terms, "composed"]))


def provenance_edges(resolved: ResolvedRecipe) -> "tuple[Parent, ...]":
    """An edge to every input: to a vector with its lambda on it, to a base whose difference was extracted."""
    from arithmetic import Weights, inputs
    from registry import Parent

    parents = {found.named: parent_of(found) for found in resolved.inputs}
    return tuple(
        Parent(
            parents[origin.name], "extracted_from" if isinstance(origin, Weights) else "composed_from", weight, place
        )
        for place, (weight, origin) in enumerate(inputs(resolved.vector))
    )


def parent_of(found: Resolved) -> str:
    """How an edge calls an input: a version by its reference, a path by its digest."""
    return found.version.ref if found.version else f"external:{found.locked}"


def certified_recipe(registry: "Registry | None", composed: Path) -> str:
    """The locked recipe inside a composed file, in references that can be found here.

    Raises NotCertified for a file that has none, ChangedInput as `findable`.
    """
    from arithmetic.certificate import LOCKED_KEY, RECIPE_KEY
    from arithmetic.sources.vector import weights_file
    from formats import read_header

    metadata = read_header(weights_file(composed)).metadata
    if not metadata.get(LOCKED_KEY) or not metadata.get(RECIPE_KEY):
        raise NotCertified(
            f"{composed}: carries no recipe to prove it against; say what it is to be: --recipe '0.8*a + b'"
        )
    return findable(registry, metadata[RECIPE_KEY], metadata[LOCKED_KEY])


def findable(registry: "Registry | None", typed: str, locked: str) -> str:
    """The locked recipe; an input that only a path leads to stays the path that was typed.

    Raises ChangedInput when another content lies at that path now.
    """
    from arithmetic import parse
    from registry import NotFound

    written, fixed = parse(typed), parse(locked)
    references = {}
    for name, digest in zip(written.names(), fixed.names(), strict=True):
        try:
            is_whole = resolve(registry, digest).locked == digest
        except (NotFound, NoRegistry):
            is_whole = False
        if is_path(name) and not is_whole:  # a file may be a part of a registered folder
            _require_unchanged(name, digest)
            references[digest] = name
    return str(fixed.lock(lambda reference: references.get(reference, reference)))


def _require_unchanged(path: str, locked: str) -> None:
    found = resolve_path(Path(path).expanduser())
    if found.locked != locked:
        raise ChangedInput(f"{path}: is {found.locked} now, the recipe was made with {locked}; put the old file back")
