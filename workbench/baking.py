"""Baking: a base with vectors in its weights, as one checkpoint with its proof; and the base out of it again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.architectures import Architectures
from workbench.checking import verdict_of
from workbench.errors import NotABase, NotCertified
from workbench.naming import require_free
from workbench.recipes import ResolvedRecipe, resolve_recipe
from workbench.references import resolve_path

if TYPE_CHECKING:
    from arithmetic import BakeCertificate, Resources, Verdict, Weights
    from registry import Registry, Version

KIND = "base"

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
        dtype: of the weights; as the base has them by default, or as the recipe says.
        shard_bytes: cut the output into files of at most so many bytes.
        residual: where to write what `unbake` needs to give the base back, bit for bit.
        name: register the checkpoint as a base of that name.

    Raises BaseUndecided, ValidationRefused, BoundExceeded, Cancelled, OutputConflict; nothing is left behind then.
    """
    from arithmetic import DEFAULT_RESOURCES
    from arithmetic import bake as write

    used = resources or DEFAULT_RESOURCES
    resolved = resolve_recipe(registry, text, base, device=used.exact_device)
    verdict = _judged(registry, resolved)
    if name is not None and registry is not None:
        require_free(registry, name, KIND)
    certificate = write(
        bases_of(registry, resolved),
        resolved.bound.combination,
        out,
        recipe=str(resolved.recipe),
        locked=str(resolved.locked),
        dtype=dtype or _said_dtype(resolved),
        shard_bytes=shard_bytes,
        residual=residual,
        inputs=_records(registry, resolved),
        resources=used,
        progress=progress,
        cancelled=cancelled,
    )
    version = None if name is None or registry is None else _register(registry, resolved, out, name, draft)
    return Baked(version, out, certificate, verdict, str(resolved.recipe))
