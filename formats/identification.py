"""What a file or folder is: family, adapter kind, layout, ranks, alpha, sizes and hashes, each with its evidence."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from formats.adapter_files import AdapterFile, open_adapter
from formats.architecture import COMPONENTS, SHIPPED, Architecture, architecture, component_of
from formats.digests import digest
from formats.families import Candidate, candidates, distinct, family_of_adapter, family_of_table
from formats.findings import NO_ADAPTER, UNKNOWN, Finding, Identification
from formats.folders import architecture_of_folder, component_headers, is_base_folder
from formats.header import Header, TensorSpec, read_scalars
from formats.layouts import Match, layout_of
from formats.marks import Marks, kind_of, read_marks
from formats.scales import ADAPTER_METADATA, alpha_rules
from formats.shapes import rank_of
from formats.spellings import Layout, inner_names

DTYPE_NAMES: Mapping[str, str] = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16"}

CHECKPOINT_PREFIXES = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.embedders.")

NEEDS_BASE = frozenset({"oft", "boft", "ia3", "glora"})
"""Kinds whose delta depends on the base's weights."""


def identify(path: Path | str, *, architectures: Iterable[Architecture] | None = None) -> Identification:
    """What the file, PEFT folder or diffusers base folder `path` is, from its headers alone; the file is hashed too.

    `architectures` are the tables to compare with, the shipped ones when None; of equal tables the first counts.
    Raises HeaderError for an unreadable file and FolderError for a folder that is neither a base nor an adapter.
    """
    path = Path(path)
    tables = tuple(map(architecture, SHIPPED)) if architectures is None else tuple(architectures)
    if path.is_dir() and is_base_folder(path):
        return _identify_base(path, tables)
    opened = open_adapter(path)
    marks = read_marks(opened.header)
    return _identify_adapter(opened, marks, tables) if _kinds(marks, opened.header) else _identify_other(opened.header)


def _identify_base(folder: Path, tables: tuple[Architecture, ...]) -> Identification:
    table = architecture_of_folder(folder, folder.name)
    family, name = family_of_table(table, distinct(tables))
    headers = [header for component in COMPONENTS for header in component_headers(folder, component)]
    unet = component_headers(folder, "unet")
    return Identification(
        kind="base",
        family=family,
        adapter=Finding(NO_ADAPTER, 1.0, ("a whole base, no adapter",)),
        layout=Finding(Layout.DIFFUSERS, 1.0, (f"a diffusers folder with {', '.join(table.components)}",)),
        rank=None,
        ranks={},
        alpha=None,
        dtype=_dtype(_elements_by_dtype(spec for header in unet for spec in header.tensors.values())),
        modules=len(table.modules),
        parameters=sum(spec.elements for header in headers for spec in header.tensors.values()),
        hashes=None,
        architecture=name,
        warnings=(),
    )


def _identify_other(header: Header) -> Identification:
    """A safetensors file without any adapter's mark."""
    reason = _why_no_adapter(header)
    nothing = Finding(UNKNOWN, 0.0, (reason,))
    return Identification(
        kind="unknown",
        family=nothing,
        adapter=nothing,
        layout=nothing,
        rank=None,
        ranks={},
        alpha=None,
        dtype=_dtype(_elements_by_dtype(header.tensors.values())),
        modules=0,
        parameters=sum(spec.elements for spec in header.tensors.values()),
        hashes=digest(header.path),
        architecture=None,
        warnings=(reason,),
    )


def _identify_adapter(opened: AdapterFile, marks: Marks, tables: tuple[Architecture, ...]) -> Identification:
    header = opened.header
    found = candidates(marks, header, tables)
    family, best = family_of_adapter(found, header)
    shown = best or max(found, key=lambda one: len(one.match.spelled), default=None)
    ranks, alphas = _ranks(marks, header), _alphas(opened, marks, shown)
    named = any(one.match.spelled or one.match.misfits for one in found)
    kinds = _kinds(marks, header)
    weights = [header.tensors[key] for roles in marks.pieces.values() for role, key in roles.items() if role != "alpha"]
    return Identification(
        kind="vector" if named else "unknown",
        family=family,
        adapter=_adapter(kinds, marks, header),
        layout=_layout(shown),
        rank=next(iter(ranks)) if len(ranks) == 1 else None,
        ranks=dict(sorted(ranks.items())),
        alpha=next(iter(alphas)) if len(alphas) == 1 and all(map(math.isfinite, alphas)) else None,
        dtype=_dtype(_elements_by_dtype(weights)),
        modules=kinds.total(),
        parameters=sum(spec.elements for spec in weights),
        hashes=digest(header.path),
        architecture=best.name if best else None,
        warnings=_warnings(opened, marks, kinds, shown, named),
    )


def _kinds(marks: Marks, header: Header) -> Counter[str]:
    """How many modules each adapter kind has."""
    kinds = (kind_of(roles, header) for roles in marks.pieces.values())
    return Counter(kind for kind in kinds if kind is not None)


def _adapter(kinds: Counter[str], marks: Marks, header: Header) -> Finding:
    kind, count = kinds.most_common(1)[0]
    evidence = [f"{count} of {kinds.total()} modules carry the keys of {kind}"]
    spatial = _spatial(marks, header)
    if kind == "lora" and spatial:
        kind = "locon"
        evidence.append(f"{spatial} of them are convolutions larger than 1x1, which makes it the LoCon form of LoRA")
    directions = sum("magnitude" in roles for roles in marks.pieces.values())
    if directions:
        kind = f"{kind}+dora"
        evidence.append(f"{directions} modules carry a DoRA magnitude")
    return Finding(kind, round(count / kinds.total(), 2), tuple(evidence))


def _spatial(marks: Marks, header: Header) -> int:
    """How many low-rank modules are convolutions with a kernel larger than 1x1."""
    pieces = (
        header.tensors[roles[role]] for roles in marks.pieces.values() for role in ("down", "mid") if role in roles
    )
    return sum(math.prod(spec.shape[2:]) > 1 for spec in pieces)


def _layout(shown: Candidate | None) -> Finding:
    if shown is None or not shown.match.spelled:
        return Finding(UNKNOWN, 0.0, ("no key is a known module in any known layout",))
    layout = layout_of(shown.match)
    stem, spelling = next((stem, s) for stem, s in shown.match.spelled.items() if s.layout == layout)
    found = len(shown.match.spelled)
    total = found + len(shown.match.misfits) + len(shown.match.unknown_stems)
    example = f"e.g. {stem!r} is {spelling.module}"
    sentence = f"{found} of {total} modules are found under their {layout} names, {example}"
    return Finding(layout, round(found / total, 2), (sentence,))


def _ranks(marks: Marks, header: Header) -> Counter[int]:
    shapes = ({role: header.tensors[key].shape for role, key in roles.items()} for roles in marks.pieces.values())
    return Counter(rank for one in shapes if (rank := rank_of(one)) is not None)


def _alphas(opened: AdapterFile, marks: Marks, shown: Candidate | None) -> set[float]:
    """The distinct alphas: stored ones, and what the configuration or the default says for modules without."""
    header = opened.header
    stored = read_scalars(header, [roles["alpha"] for roles in marks.pieces.values() if "alpha" in roles])
    rules = alpha_rules(header, opened.config)
    alphas = set(stored.values())
    for stem, spelling in (shown.match.spelled if shown else {}).items():
        roles = marks.pieces[stem]
        if "alpha" not in roles and "down" in roles:
            component, _, name = spelling.module.partition(".")
            alphas.add(rules[component].alpha_of(inner_names(component, name), header.tensors[roles["down"]].shape[0]))
    return alphas


def _elements_by_dtype(specs: Iterable[TensorSpec]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for spec in specs:
        counted[spec.dtype] += spec.elements
    return counted


def _dtype(counted: Counter[str]) -> str | None:
    """The name of the dtype with the largest share."""
    if not counted:
        return None
    dtype = counted.most_common(1)[0][0]
    return DTYPE_NAMES.get(dtype, dtype.lower())


def _why_no_adapter(header: Header) -> str:
    for prefix in CHECKPOINT_PREFIXES:
        if any(key.startswith(prefix) for key in header.tensors):
            return (
                f"a whole checkpoint ({prefix}*), not an adapter: convert it to a diffusers folder to use it as a base"
            )
    if not header.tensors:
        return "holds no tensor"
    return f"none of its {len(header.tensors)} keys carries an adapter's mark, e.g. {min(header.tensors)!r}"


def _warnings(
    opened: AdapterFile, marks: Marks, kinds: Counter[str], shown: Candidate | None, named: bool
) -> tuple[str, ...]:
    warnings = []
    if not named:
        warnings.append("no key names a module of a known architecture: not an adapter of a known base")
    if marks.strange:
        warnings.append(f"{len(marks.strange)} keys carry no adapter's mark, e.g. {marks.strange[0]!r}")
    if any("magnitude" in roles for roles in marks.pieces.values()):
        warnings.append("DoRA: diffusers drops dora_scale keys, and runtimes disagree on strengths other than 1")
    warnings += [f"{kind}: its change depends on the base's weights" for kind in sorted(kinds.keys() & NEEDS_BASE)]
    if shown and shown.match.spelled:
        warnings += _layout_warnings(opened, marks, shown.match)
    return tuple(warnings)


def _layout_warnings(opened: AdapterFile, marks: Marks, match: Match) -> list[str]:
    layouts = {s.layout for s in match.spelled.values() if component_of(s.module) == "unet"}
    warnings = []
    if {Layout.KOHYA, Layout.KOHYA_SGM} <= layouts:
        warnings.append("U-Net keys in both of kohya's dialects: diffusers drops the sgm half")
    has_alpha = any("alpha" in roles for roles in marks.pieces.values())
    if (
        Layout.PEFT in layouts
        and opened.config is None
        and not has_alpha
        and ADAPTER_METADATA not in opened.header.metadata
    ):
        warnings.append("PEFT keys without adapter_config.json: alpha is unknown, the scale is taken to be 1")
    return warnings
