"""Conversions: a vector in another layout's keys, to the last bit of its factors and the value of every scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import IdentityLost
from workbench.giving.weight_files import ADAPTER_METADATA, HASH_CLAIMS
from workbench.recipes.architectures import Architectures
from workbench.recipes.references import resolve_target
from workbench.sums.checking import output_layout

if TYPE_CHECKING:
    from arithmetic import Vector
    from formats import Layout
    from registry import Registry


@dataclass(frozen=True)
class Converted:
    """What was read and what was written."""

    source: str
    path: Path
    layout_before: str
    layout: str
    modules: int
    kinds: tuple[str, ...]
    """Of the modules: lora, loha, lora+dora, ..."""
    layout_hash: str
    """The same before and after: it knows modules, factors and scales, not their spelling."""
    files: dict[str, str]
    """SHA-256 by name."""


def convert(registry: "Registry | None", target: str, out: Path, *, layout: str = "kohya") -> Converted:
    """Write the vector at a path, or a version, to `out` in the keys of `layout`; for PEFT `out` is a new folder.

    Nothing is added up, rounded or rescaled: factors keep their bits and scales their values. Without a registry, the
    vector is a path.

    Raises UnsupportedLayout, NotConvertible for what the layout cannot hold, NotAVector, OutputConflict, IdentityLost;
    nothing is left behind then.
    """
    from arithmetic import convert
    from arithmetic.files.staging import publish, staging_folder

    wanted = output_layout(layout)
    vector = Architectures(registry).open(resolve_target(registry, target))
    _require_free(out, vector, wanted)
    kept = {key: text for key, text in vector.header.metadata.items() if key not in (*HASH_CLAIMS, ADAPTER_METADATA)}
    with staging_folder(out) as stage:
        written = convert(vector, stage / out.name, wanted, kept)
        proven = _proven(vector, written)
        files = _digests(written)
        publish({written: out})
    kinds = sorted({entry.title for entry in vector.modules.values()})
    return Converted(target, out, str(vector.layout), layout, len(vector.modules), tuple(kinds), proven, files)


def _require_free(out: Path, vector: "Vector", layout: "Layout") -> None:
    from arithmetic import OutputConflict
    from formats import Layout

    if out.resolve() in (vector.path.resolve(), vector.weights_path.resolve()):
        raise OutputConflict(f"{out}: is what is to be converted. Write somewhere else.")
    if out.is_dir() or (layout is Layout.PEFT and out.exists()):
        raise OutputConflict(f"{out}: exists. A folder is never replaced: remove it or write somewhere else.")


def _proven(vector: "Vector", written: Path) -> str:
    from formats import layout_hash

    before, after = (layout_hash(path, vector.architecture) for path in (vector.path, written))
    if before is None or after != before:
        raise IdentityLost(
            f"{vector.name}: written with the layout hash {after}, expected {before}. Keep the layout that it has, and "
            "report this."
        )
    return after


def _digests(written: Path) -> dict[str, str]:
    from formats import digest

    paths = sorted(written.iterdir()) if written.is_dir() else [written]
    return {path.name: digest(path).sha256 for path in paths}
