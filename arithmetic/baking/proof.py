"""Proof that a baked base is the sum it claims to be: every changed module by random probes, all else by its digest.

The output is opened again with the ordinary reader. For every module that changed, with probe vectors x,

    error = ||(W' - sum_i c_i W_i - dW) x|| / (sum_i |c_i| ||W_i x|| + ||dW x|| + tiny)

in float64. tiny is what a matrix of the smallest normal numbers of the output's dtype would give: below them a float's
step no longer shrinks with it. Every other tensor must have the BLAKE3 digest that it has in the first base.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3

from arithmetic.baking.sheets import Entry, Sheet
from arithmetic.baking.sums import Bases
from arithmetic.certificate import ENGINE_VERSION, METHOD, SEED
from arithmetic.deltas import product
from arithmetic.errors import BoundExceeded, CertificateMismatch
from arithmetic.precision import Precision
from arithmetic.probes import probe_vectors
from arithmetic.resources import Resources, done_in_order
from arithmetic.sources.source import Source
from arithmetic.weights import Weights

PROBES = 4
BOUNDS = {"F64": Precision.FP32.bound, **{precision.tag: precision.bound for precision in Precision}}


@dataclass(frozen=True)
class BakeCertificate:
    """What was proved about a baked base. `files`: SHA-256 by name within it; `modules`: each changed one's error.

    `moved` counts the modules whose weights are not what they were; `untouched` the tensors that are the first base's
    to the bit; `left_out` names files of its folder that were not copied: hidden ones, and the same weights unbaked. Of
    a checkpoint that `verify_bake` proved it names what the proof does not cover: texts that differ, parts left away.
    """

    files: Mapping[str, str]
    worst_relative_error: float
    bound: float
    dtype: str
    modules: Mapping[str, float]
    moved: int
    untouched: int
    left_out: tuple[str, ...]
    method: str
    probes: int
    seed: int
    engine_version: str
    recipe: str
    locked: str
    inputs: tuple[Mapping[str, Any], ...]

    def to_json(self) -> str:
        """A stable JSON text that `from_json` reads back."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "BakeCertificate":
        """The certificate that `to_json` wrote. Raises CertificateMismatch for anything else."""
        try:
            fields = json.loads(text)
            return cls(**{**fields, "inputs": tuple(fields["inputs"]), "left_out": tuple(fields["left_out"])})
        except (KeyError, TypeError, ValueError) as error:
            raise CertificateMismatch(f"not a certificate of a bake: {error!r}. Bake again.") from error


@dataclass(frozen=True)
class Proof:
    """What reading the output back showed."""

    files: Mapping[str, str]
    errors: Mapping[str, float]
    bounds: Mapping[str, float]
    moved: int
    untouched: int

    @property
    def worst(self) -> str:
        """The module whose error is largest for its dtype."""
        return max(self.errors, key=lambda module: _badness(self.errors[module] / self.bounds[module]))


def prove(
    written: Weights,
    sheets: Sequence[Sheet],
    bases: Bases,
    source: Source | None,
    *,
    resources: Resources,
    probes: int = PROBES,
    seed: int = SEED,
    notify: Callable[[int, int], None] = lambda done, total: None,
) -> Proof:
    """Read every tensor of `written` back; see the module's docstring for the equation.

    Args:
        written: the output.
        sheets: what should be in it.
        bases: (coefficient, base) each; the first one is where untouched tensors come from.
        source: dW.
        resources: threads.
        probes: Gaussian probe vectors a module.
        seed: of the probes.
        notify: called with (modules done, modules).

    Raises:
        BoundExceeded: a module that is not the sum, a tensor that is missing or not the base's.
    """
    changed = [part.module for sheet in sheets for entry in sheet.entries if entry.is_changed for part in entry.parts]
    tasks = [partial(module_error, written, module, bases, source, probes, seed) for module in changed]
    errors: dict[str, float] = {}
    moved = 0
    with ThreadPoolExecutor(1) as beside:
        hashed = beside.submit(lambda: written.digests)
        with closing(done_in_order(tasks, resources)) as results:
            for module, (error, is_moved) in zip(changed, results, strict=True):
                errors[module] = error
                moved += is_moved
                notify(len(errors), len(changed))
        untouched = _count_untouched(written, sheets, bases[0][1], resources)
        digests = hashed.result()
    bounds = {module: BOUNDS[written.dtype_tag(module)] for module in changed}
    return Proof(digests, errors, bounds, moved, untouched)


def certificate_of(
    proof: Proof,
    *,
    dtypes: Sequence[str],
    others: Mapping[str, str],
    left_out: Sequence[str],
    recipe: str,
    locked: str,
    inputs: Sequence[Mapping[str, Any]],
    probes: int = PROBES,
    seed: int = SEED,
) -> BakeCertificate:
    """The certificate of a proof. Raises BoundExceeded where its dtype does not explain an error, or nothing moved."""
    if not proof.moved:
        raise BoundExceeded("no weight moved: all that the sum adds is lost in rounding. Raise its weights.")
    worst = proof.worst
    if not proof.errors[worst] <= proof.bounds[worst]:
        raise BoundExceeded(
            f"{worst}: arithmetic error {proof.errors[worst]:.2e}, at most {proof.bounds[worst]:.0e} is explained by "
            "its dtype. Bake again, and check that the inputs are the recipe's."
        )
    return BakeCertificate(
        files={**others, **proof.files},
        worst_relative_error=max(proof.errors.values()),
        bound=max(proof.bounds.values()),
        dtype="+".join(sorted(set(dtypes))),
        modules=proof.errors,
        moved=proof.moved,
        untouched=proof.untouched,
        left_out=tuple(left_out),
        method=METHOD,
        probes=probes,
        seed=seed,
        engine_version=ENGINE_VERSION,
        recipe=recipe,
        locked=locked,
        inputs=tuple(inputs),
    )


def module_error(
    written: Weights, module: str, bases: Bases, source: Source | None, probes: int, seed: int
) -> tuple[float, bool]:
    """(error, whether the module is another than the first base's); see the module's docstring for the equation."""
    weight = written.weight(module)
    rows, columns = weight.shape[0], math.prod(weight.shape[1:])
    x = probe_vectors(columns, probes, seed, module)
    applied = [product(base.weight(module).reshape(rows, columns), x) for _, base in bases]
    difference = product(weight.reshape(rows, columns), x)
    is_moved = not torch.equal(difference, applied[0])
    terms = torch.finfo(weight.dtype).smallest_normal * math.sqrt(rows) * float(x.norm())
    for (coefficient, _), own in zip(bases, applied, strict=True):
        difference -= coefficient * own
        terms += abs(coefficient) * float(own.norm())
    if source is not None and module in source.modules:
        delta = source.delta(module).apply(x)
        difference -= delta
        terms += float(delta.norm())
    return float(difference.norm()) / terms, is_moved


def _count_untouched(written: Weights, sheets: Sequence[Sheet], base: Weights, resources: Resources) -> int:
    """How many tensors are the base's own. Raises BoundExceeded where one should be and is not."""
    files = {file.name: file for file in written.files}
    for sheet in sheets:
        if files[sheet.name].header.tensors.keys() != {entry.key for entry in sheet.entries}:
            raise BoundExceeded(f"{sheet.name}: its tensors are not those of the base. Bake again.")
    kept = [(files[sheet.name], entry) for sheet in sheets for entry in sheet.entries if not entry.is_changed]
    tasks = [partial(_check_same, written, file.path, base, entry) for file, entry in kept]
    with closing(done_in_order(tasks, resources)) as results:
        return sum(1 for _ in results)


def _check_same(written: Weights, file: Path, base: Weights, entry: Entry) -> None:
    own, copied = (
        blake3(weights.mapped(at).raw(entry.key)).digest() for weights, at in ((base, entry.file.path), (written, file))
    )
    if own != copied:
        raise BoundExceeded(f"{file.name}: {entry.key} is not the base's. Bake again.")


def _badness(error: float) -> float:
    return math.inf if math.isnan(error) else error
