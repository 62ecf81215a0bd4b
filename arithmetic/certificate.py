"""Proof that a written file is the sum it claims to be, by random probes in float64 (Freivalds 1977).

For every module the file is opened again with the ordinary reader and multiplied by probe vectors x. With out the
file's delta and dW_i the inputs' own,

    error = ||(out - sum_i lambda_i dW_i) x|| / sum_i |lambda_i| ||dW_i x||

which needs no dense matrix and, divided by the terms and not by their sum, stays meaningful when they cancel.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arithmetic.combination import Combination, reached_modules
from arithmetic.errors import BoundExceeded, CertificateMismatch
from arithmetic.deltas import width
from arithmetic.precision import Precision
from arithmetic.vector import Vector, open_vector
from formats import Layout, read_header

METHOD = "freivalds-float64"
PROBES = 8
SEED = 20231109
ENGINE_VERSION = f"arithmetic/1 torch/{torch.__version__}"
"""The first part changes when the same recipe would give other bytes."""

RECIPE_KEY = "tauworks.recipe"
LOCKED_KEY = "tauworks.locked"


@dataclass(frozen=True)
class Certificate:
    """What was proved about one file, keyed by its digest; `modules` maps each module to its arithmetic error."""

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


def input_records(combination: Combination) -> tuple[dict[str, Any], ...]:
    """What the sum was made of: name, digest and lambda of each term, in order."""
    return tuple(
        {"name": vector.name, "sha256": vector.sha256, "weight": weight} for weight, vector in combination.terms
    )


def certify(
    path: Path,
    combination: Combination,
    *,
    layout: Layout | None = None,
    probes: int = PROBES,
    seed: int = SEED,
    progress: Callable[[int, int], None] | None = None,
) -> Certificate:
    """Measure the file at `path` against `combination`; see the module's docstring for the equation.

    Args:
        path: a weight file or PEFT folder.
        combination: what it claims to be.
        layout: recorded; read from the file by default.
        probes: Gaussian probe vectors a module.
        seed: of the probes.
        progress: called with (modules done, modules).

    Raises:
        BoundExceeded: a module is missing or one too many, or an error exceeds the bound of the file's precision.
    """
    written = open_vector(path, combination.architecture, name=path.name)
    precision = stored_precision(written)
    _check_modules(written, combination)
    modules = reached_modules(combination)
    generator = torch.Generator().manual_seed(seed)
    errors: dict[str, float] = {}
    for module in modules:
        errors[module] = _module_error(written, combination, module, probes, generator)
        if progress is not None:
            progress(len(errors), len(modules))
    worst = max(errors, key=lambda module: _badness(errors[module]))
    if not errors[worst] <= precision.bound:
        raise BoundExceeded(
            f"{path.name}: {worst}: arithmetic error {errors[worst]:.2e}, at most {precision.bound:.0e} is explained "
            f"by {precision}. Compose again with a finer dtype, or check that the inputs are the recipe's."
        )
    metadata = read_header(written.weights_path).metadata
    return Certificate(
        file_sha256=written.sha256,
        worst_relative_error=errors[worst],
        bound=precision.bound,
        layout=str(layout or written.layout),
        dtype=str(precision),
        modules=errors,
        method=METHOD,
        probes=probes,
        seed=seed,
        engine_version=ENGINE_VERSION,
        recipe=metadata.get(RECIPE_KEY, ""),
        locked=metadata.get(LOCKED_KEY, ""),
        inputs=input_records(combination),
    )


def verify(path: Path, combination: Combination, *, seed: int = SEED) -> Certificate:
    """Prove a result again against its recipe's inputs; the certificate beside it, when there is one, must be its own.

    Raises:
        CertificateMismatch: the certificate beside the file belongs to other bytes or other inputs.
        BoundExceeded: as `certify`.
    """
    certificate = certify(path, combination, seed=seed)
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


def _module_error(
    written: Vector, combination: Combination, module: str, probes: int, generator: torch.Generator
) -> float:
    spec = combination.architecture.modules[module]
    x = torch.randn(width(spec), probes, generator=generator, dtype=torch.float64)
    difference = torch.zeros(spec.shape[0], probes, dtype=torch.float64)
    terms = torch.zeros((), dtype=torch.float64)
    if module in written.modules:
        difference += written.factors(module).apply(x)
    for weight, vector in combination.terms:
        if module in vector.modules:
            y = weight * vector.factors(module).apply(x)
            difference -= y
            terms += y.norm()
    return relative_error(difference, terms)


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
