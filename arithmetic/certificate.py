"""Proof that a written file is the sum it claims to be, by random probes in float64 (Freivalds 1977).

For every module the file is opened again with the ordinary reader and multiplied by probe vectors x. With out the
file's delta and dW_i the terms' own,

    arithmetic error = ||(out - sum_i lambda_i dW_i) x|| / sum_i |lambda_i| ||dW_i x||

which needs no dense matrix and, divided by the terms and not by their sum, stays meaningful when they cancel. What a
merge method made is made again for the proof.

Where the recipe ends by lowering the rank, out must be the unreduced sum S projected on out's own columns, Q Q^T S,
and what the projection leaves is measured exactly:

    approximation error = ||S - Q Q^T S||_F / ||S||_F
"""

import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from arithmetic.deltas import Delta, width
from arithmetic.errors import BoundExceeded, CertificateMismatch
from arithmetic.precision import Precision
from arithmetic.probes import probe_vectors
from arithmetic.reduction import Basis, Rule
from arithmetic.reduction.rules import ROUNDING
from arithmetic.resources import DEFAULT_RESOURCES, Resources, in_order
from arithmetic.sources.combination import Combination, inputs, reached_modules
from arithmetic.sources.extraction import Extracted
from arithmetic.sources.reduced import Reduced
from arithmetic.sources.source import Source
from arithmetic.sources.vector import Vector, open_vector
from formats import Layout, read_header, spec_of

METHOD = "freivalds-float64"
PROBES = 8
SEED = 20231109
ENGINE_VERSION = f"arithmetic/2 torch/{torch.__version__}"
"""The first part changes when the same recipe would give other bytes."""

RECIPE_KEY = "tauworks.recipe"
LOCKED_KEY = "tauworks.locked"


@dataclass(frozen=True)
class Certificate:
    """What was proved about one file, keyed by its digest; `modules` maps each module to its arithmetic error.

    `approximations` maps each module whose rank was lowered to its approximation error; empty for an exact sum.
    """

    file_sha256: str
    worst_relative_error: float
    bound: float
    layout: str
    dtype: str
    modules: Mapping[str, float]
    method: str
    probes: int
    seed: int
    engine_version: str
    recipe: str
    locked: str
    inputs: tuple[Mapping[str, Any], ...]
    approximations: Mapping[str, float] = field(default_factory=dict)

    @property
    def worst_approximation_error(self) -> float:
        """The largest approximation error of a module; 0 for an exact sum."""
        return max(self.approximations.values(), default=0.0)

    def to_json(self) -> str:
        """A stable JSON text that `from_json` reads back."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """The certificate that `to_json` wrote. Raises CertificateMismatch for anything else."""
        try:
            fields = json.loads(text)
            return cls(**{**fields, "inputs": tuple(fields["inputs"])})
        except (KeyError, TypeError, ValueError) as error:
            raise CertificateMismatch(f"not a certificate: {error!r}. Write it anew with verify.") from error


def certificate_path(path: Path) -> Path:
    """FILE.certificate.json beside FILE (or beside a PEFT folder)."""
    return path.with_name(path.name + ".certificate.json")


class Lowered(Protocol):
    """A source of lower rank than what it was made of."""

    @property
    def whole(self) -> Source:
        """What it was made of."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """How far its rank may have been lowered."""


class Proof(NamedTuple):
    """The errors of one module; there is an approximation error only where a rank was lowered."""

    module: str
    error: float
    approximation: float | None = None


def input_records(combination: Combination) -> tuple[dict[str, Any], ...]:
    """What the sum was made of: name, digest and lambda of each file, in the order of the recipe."""
    return tuple(
        {"name": source.name, "sha256": source.sha256, "weight": weight} for weight, source in inputs(combination)
    )


def certify(
    path: Path,
    combination: Combination,
    *,
    layout: Layout | None = None,
    probes: int = PROBES,
    seed: int = SEED,
    progress: Callable[[int, int], None] | None = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> Certificate:
    """Measure the file at `path` against `combination`; see the module's docstring for the equations.

    Args:
        path: a weight file or PEFT folder.
        combination: what it claims to be.
        layout: recorded; read from the file by default.
        probes: Gaussian probe vectors a module.
        seed: of the probes.
        progress: called with (modules done, modules).
        resources: threads and memory.

    Raises:
        BoundExceeded: a module is missing or one too many, or an error exceeds the bound of the file's precision or of
            the recipe's last stages.
    """
    written = open_vector(path, combination.architecture, name=path.name)
    precision = stored_precision(written)
    _check_modules(written, combination)
    with ThreadPoolExecutor(1) as beside:
        digests = beside.submit(lambda: (written.sha256, input_records(combination)))
        proofs = _proofs(written, combination, probes, seed, progress, resources)
        sha256, records = digests.result()
    worst = max(proofs, key=lambda proof: _badness(proof.error))
    if not worst.error <= precision.bound:
        raise BoundExceeded(
            f"{path.name}: {worst.module}: arithmetic error {worst.error:.2e}, at most {precision.bound:.0e} is "
            f"explained by {precision}: it is not this sum, or needs a finer dtype. Check the recipe and its "
            "inputs; compose it again if it is your own."
        )
    metadata = read_header(written.weights_path).metadata
    return Certificate(
        file_sha256=sha256,
        worst_relative_error=worst.error,
        bound=precision.bound,
        layout=str(layout or written.layout),
        dtype=str(precision),
        modules={proof.module: proof.error for proof in proofs},
        method=METHOD,
        probes=probes,
        seed=seed,
        engine_version=ENGINE_VERSION,
        recipe=metadata.get(RECIPE_KEY, ""),
        locked=metadata.get(LOCKED_KEY, ""),
        inputs=records,
        approximations={p.module: p.approximation for p in proofs if p.approximation is not None},
    )


def _proofs(
    written: Vector,
    combination: Combination,
    probes: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
    resources: Resources,
) -> list[Proof]:
    modules = reached_modules(combination)
    prove = partial(_module_proof, written, combination, stored_precision(written).bound, probes, seed)
    proofs: list[Proof] = []
    for proof in in_order(prove, modules, resources):
        proofs.append(proof)
        if progress is not None:
            progress(len(proofs), len(modules))
    return proofs


def verify(
    path: Path,
    combination: Combination,
    *,
    seed: int = SEED,
    progress: Callable[[int, int], None] | None = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> Certificate:
    """Prove a result again against its recipe's inputs; the certificate beside it, when there is one, must be its own.

    Raises:
        CertificateMismatch: the certificate beside the file belongs to other bytes or other inputs.
        BoundExceeded: as `certify`.
    """
    certificate = certify(path, combination, seed=seed, progress=progress, resources=resources)
    beside = certificate_path(path)
    if beside.exists():
        kept = Certificate.from_json(beside.read_text(encoding="utf-8"))
        _check_same("file", path, kept.file_sha256, certificate.file_sha256)
        _check_same("inputs", path, _digests(kept), _digests(certificate))
    return certificate


def relative_error(difference: Tensor, terms: Tensor) -> float:
    """||difference|| / terms for (m, p) differences and a scalar sum of norms; 0/0 is 0, x/0 is infinite."""
    error: float = difference.norm().item()
    scale: float = terms.item()
    if scale == 0:
        return 0.0 if error == 0 else float("inf")
    return error / scale


def stored_precision(vector: Vector) -> Precision:
    """The coarsest precision that the vector's factors are stored in."""
    tags = {entry.dtype for entry in vector.modules.values()}
    return max((p for p in Precision if p.tag in tags), key=lambda p: p.bound, default=Precision.FP32)


def _module_proof(
    written: Vector, combination: Combination, rounding: float, probes: int, seed: int, module: str
) -> Proof:
    spec = spec_of(combination.architecture, module)
    x = probe_vectors(width(spec), probes, seed, module)
    terms = combination.terms_of(module)
    out = written.delta(module) if module in written.modules else None
    lowered = _lowered(terms, module)
    if lowered is not None and out is not None:
        return _projection_proof(module, lowered, out, x, rounding)
    products = [weight * source.delta(module).apply(x) for weight, source in terms]
    intended = sum(products, torch.zeros(spec.shape[0], probes, dtype=torch.float64))
    got = out.apply(x) if out is not None else torch.zeros_like(intended)
    return Proof(module, relative_error(got - intended, _norms(products)))


def _projection_proof(module: str, lowered: Lowered, out: Delta, x: Tensor, rounding: float) -> Proof:
    """`out` against the unreduced sum projected on its columns, and the exact norm of what that leaves."""
    factors = out.low_rank()
    if factors is None:
        raise BoundExceeded(f"{module}: is a matrix in the file, the recipe lowers its rank. Compose again.")
    whole = lowered.whole.delta(module)
    basis, intended = Basis.of(factors.matrices()[0]), whole.apply(x)
    terms = _terms_of(lowered.whole, module, x, intended)
    error = relative_error(out.apply(x) - basis.times(basis.coordinates(intended)), terms)
    approximation = projection_error(whole, basis)
    met = [rule.is_met(factors.rank, approximation, rounding) for rule in lowered.rules]
    if not all(met) and not _is_optimum(module, lowered, factors.rank, approximation, rounding):
        raise BoundExceeded(
            f"{module}: rank {factors.rank} and approximation error {approximation:.3g} do not keep to "
            f"{lowered.rules[met.index(False)]}. Compose again."
        )
    return Proof(module, error, approximation)


def _is_optimum(module: str, lowered: Lowered, rank: int, error: float, rounding: float) -> bool:
    """Whether a result is as good as all rules together allow: of two, each may undo what the other asks for."""
    if len(lowered.rules) < 2:
        return False
    best = Reduced(lowered.whole, lowered.rules).delta(module).low_rank()
    if best is None or rank > best.rank:
        return False
    optimum = projection_error(lowered.whole.delta(module), Basis.of(best.matrices()[0]))
    return error <= math.hypot(optimum, rounding) + ROUNDING


def _terms_of(whole: Source, module: str, x: Tensor, applied: Tensor) -> Tensor:
    """sum_i |lambda_i| ||dW_i x|| of a sum; of what a method made, the norm of that."""
    terms = whole.terms_of(module) if isinstance(whole, Combination) else ()
    if not terms or any(source.parts for _, source in terms):
        return _norms([applied])
    return _norms([weight * source.delta(module).apply(x) for weight, source in terms])


def _norms(products: list[Tensor]) -> Tensor:
    return torch.stack([y.norm() for y in products]).sum() if products else torch.zeros((), dtype=torch.float64)


def projection_error(delta: Delta, basis: Basis) -> float:
    """||S - Q Q^T S||_F / ||S||_F of a delta S (m, n) and orthonormal Q (m, k), in float64 by Gram matrices."""
    factors = delta.low_rank()
    if factors is None:
        dense = delta.dense()
        total, inside = dense.square().sum().item(), basis.coordinates(dense).square().sum().item()
    else:
        up, down = factors.matrices()
        gram, projected = down @ down.T, basis.coordinates(up)
        total, inside = _trace(up.T @ up, gram), _trace(projected.T @ projected, gram)
    return (max(total - inside, 0.0) / total) ** 0.5 if total > 0 else 0.0


def _trace(left: Tensor, right: Tensor) -> float:
    """tr(left right) of two symmetric matrices: the squared Frobenius norm of B A from B^T B and A A^T."""
    return torch.sum(left * right).item()


def _lowered(terms: tuple[tuple[float, Source], ...], module: str) -> Lowered | None:
    """The reduction that a module ends with, where it did lower the rank."""
    if len(terms) != 1:
        return None
    weight, source = terms[0]
    if weight != 1 or not isinstance(source, Reduced | Extracted):
        return None
    is_lowered = source.modules[module].rank is not None and source.lowers(source.whole.modules[module].rank)
    return source if is_lowered else None


def _check_modules(written: Vector, combination: Combination) -> None:
    extra = sorted(set(written.modules) - set(reached_modules(combination)))
    if extra or written.unmatched:
        unknown = (*extra, *written.unmatched)
        raise BoundExceeded(
            f"{written.name}: {unknown[0]}: in the file and in none of the inputs ({len(unknown)} such). "
            "It was not made by this recipe; compose again."
        )


def _badness(error: float) -> float:
    """Orders errors with NaN above everything."""
    return error if error == error else float("inf")


def _digests(certificate: Certificate) -> list[tuple[str, float]]:
    return [(record["sha256"], record["weight"]) for record in certificate.inputs]


def _check_same(what: str, path: Path, kept: object, found: object) -> None:
    if kept != found:
        raise CertificateMismatch(
            f"{certificate_path(path).name}: its {what} are {kept}, found {found}. "
            "The file or its inputs changed after it was certified; compose again."
        )
