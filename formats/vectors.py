"""What an adapter file is: kind, family, layout, ranks and alphas, each with its evidence."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from formats.adapter_files import AdapterFile
from formats.digests import digest
from formats.dtypes import dtype_name
from formats.families import Candidate, Choice, candidates, choose
from formats.findings import Finding, Identification, nothing
from formats.header import read_scalars
from formats.layouts import layout_of
from formats.marks import BUNDLED, NORM, Marks, kind_of
from formats.matching import Ballot, Match, Sort
from formats.predictions import prediction_of_adapter
from formats.scales import ADAPTER_METADATA, alpha_rules
from formats.shapes import rank_of
from formats.spellings import Layout, inner_names
from formats.variants import STANDARD

NEEDS_BASE = frozenset({"oft", "boft", "ia3", "glora"})
"""Kinds whose delta depends on the base's weights."""

READ_BY_ALL = frozenset({"lora"})
"""The kind that every runtime reads; for these bases diffusers 0.42 refuses the keys of all others."""

ROTATIONS = frozenset({"oft_blocks", "oft_r", "boft_r"})
"""Roles beside which an `.alpha` is no scale but the constraint of the rotation."""

OF_PEFT_ALONE = frozenset({"oft_r", "boft_r"})
"""Roles that PEFT keeps in a form of its own; so is `ia3_l` without `on_input`."""

DORA_SCALE = ".dora_scale"

MAX_RANK = 1 << 20
"""Wider than any layer: a larger number in a header is no rank."""

ONETRAINER_KEYS = ("ot_branch", "ot_revision", "ot_config")
KOHYA_ENDS = (".lora_down.weight", ".lora_up.weight", ".alpha")
VARIANT = 0.95


def is_adapter(ballot: Ballot) -> bool:
    """Whether any module carries an adapter's mark."""
    return any(kind_of(sort.shapes) for sort in ballot.sorts.values())


def identify_adapter(opened: AdapterFile, marks: Marks, ballot: Ballot, *, hashes: bool) -> Identification:
    """The facts of a file whose keys carry an adapter's marks. Raises FormatError for a malformed configuration."""
    header, sorts = opened.header, tuple(ballot.sorts.values())
    found = candidates(ballot, marks)
    choice = choose(found, header, opened.config)
    shown = choice.candidate or max(found, key=lambda one: one.tally.explained, default=None)
    kinds, elements = _kinds(sorts), _elements(sorts)
    ranks, alphas = _ranks(sorts), _alphas(opened, marks, sorts, shown)
    is_named = any(one.tally.explained or one.tally.contradicted for one in found)
    return Identification(
        kind="vector" if is_named else "unknown",
        family=choice.family,
        adapter=_adapter(kinds, sorts),
        layout=_layout(opened, marks, shown),
        rank=next(iter(ranks)) if len(ranks) == 1 else None,
        ranks=dict(sorted(ranks.items())),
        alpha=next(iter(alphas)) if len(alphas) == 1 and all(map(math.isfinite, alphas)) else None,
        dtype=dtype_name(elements),
        modules=kinds.total(),
        parameters=elements.total(),
        hashes=digest(header.path) if hashes else None,
        architecture=choice.candidate.name if choice.candidate and choice.candidate.is_exact else None,
        warnings=tuple(_warnings(opened, marks, sorts, choice, shown, is_named)),
        variant=_variant(choice),
        prediction_type=prediction_of_adapter(choice.family.value, header.metadata),
        broken=choice.broken,
    )


def _kinds(sorts: Sequence[Sort]) -> Counter[str]:
    """How many modules each adapter kind has; normalisations are a kind of their own here."""
    counted: Counter[str] = Counter()
    for sort in sorts:
        kind = kind_of(sort.shapes)
        if kind is not None:
            counted[kind] += sort.count
    return counted


def _adapter(kinds: Counter[str], sorts: Sequence[Sort]) -> Finding:
    carriers = Counter({kind: count for kind, count in kinds.items() if kind != NORM}) or Counter(full=kinds[NORM])
    kind, count = carriers.most_common(1)[0]
    evidence = [f"{count} of {carriers.total()} modules carry the keys of {kind}"]
    evidence += [f"{other} on {number} modules" for other, number in carriers.most_common()[1:]]
    spatial = sum(sort.count for sort in sorts if _is_spatial(sort))
    if kind == "lora" and spatial:
        kind = "locon"
        evidence.append(f"{spatial} of them are convolutions larger than 1x1, which makes it the LoCon form of LoRA")
    evidence += _extras(kinds, sorts)
    if any("magnitude" in sort.shapes for sort in sorts):
        kind = f"{kind}+dora"
    return Finding(kind, round(count / carriers.total(), 2), tuple(evidence))


def _extras(kinds: Counter[str], sorts: Sequence[Sort]) -> Iterator[str]:
    """What some modules have beside the pieces of their kind."""
    cores = sum(sort.count for sort in sorts if sort.shapes.keys() & {"mid", "hada_t1", "lokr_t2"})
    if cores:
        yield f"{cores} modules have a Tucker core"
    if kinds[NORM] and kinds.total() > kinds[NORM]:
        yield f"{kinds[NORM]} normalisation layers are changed too"
    magnitudes = sum(sort.count for sort in sorts if "magnitude" in sort.shapes)
    if magnitudes:
        yield f"{magnitudes} modules carry a DoRA magnitude"


def _is_spatial(sort: Sort) -> bool:
    """Whether these low-rank modules are convolutions with a kernel larger than 1x1."""
    return any(math.prod(sort.shapes[role][2:]) > 1 for role in ("down", "mid") if role in sort.shapes)


def _layout(opened: AdapterFile, marks: Marks, shown: Candidate | None) -> Finding:
    if shown is None or not shown.match.spelled:
        return nothing("no key is a known module in any known layout")
    match = shown.match
    layout = layout_of(match)
    stem, spelling = next((stem, s) for stem, s in match.spelled.items() if s.layout == layout)
    found = len(match.spelled)
    total = found + len(match.misfits) + len(match.unknown_stems)
    example = f"e.g. {stem!r} is {spelling.module}"
    evidence = [f"{found} of {total} modules are found under their {layout} names, {example}"]
    trainer = _onetrainer(opened, marks, layout)
    if trainer is not None:
        layout = Layout.ONETRAINER
        evidence.append(trainer)
    return Finding(layout, round(found / total, 2), tuple(evidence))


def _onetrainer(opened: AdapterFile, marks: Marks, layout: Layout) -> str | None:
    """What shows that OneTrainer wrote the file, whose keys are kohya's, or dotted with kohya's ends."""
    named = [key for key in ONETRAINER_KEYS if key in opened.header.metadata]
    if named:
        return f"the header holds OneTrainer's {named[0]}"
    if any(key.startswith(BUNDLED) for key in marks.strange):
        return f"it holds OneTrainer's embeddings ({BUNDLED}*)"
    if layout is Layout.DIFFUSERS and any(key.endswith(KOHYA_ENDS) for key in opened.header.tensors):
        return "dotted names with kohya's ends are a hybrid of OneTrainer's"
    return None


def _ranks(sorts: Sequence[Sort]) -> Counter[int]:
    counted: Counter[int] = Counter()
    for sort in sorts:
        rank = rank_of(sort.shapes)
        if rank is not None and 0 < rank <= MAX_RANK:
            counted[rank] += sort.count
    return counted


def _alphas(opened: AdapterFile, marks: Marks, sorts: Sequence[Sort], shown: Candidate | None) -> set[float]:
    """The distinct alphas: stored ones, and what the configuration or the default says for modules without."""
    header, pieces = opened.header, marks.pieces.values()
    rotates = any(ROTATIONS & sort.shapes.keys() for sort in sorts)
    stored = [r["alpha"] for r in pieces if "alpha" in r and not (rotates and ROTATIONS & r.keys())]
    rules = alpha_rules(header, opened.config)
    alphas = set(read_scalars(header, stored).values())
    if shown is None or not any("down" in sort.shapes and "alpha" not in sort.shapes for sort in sorts):
        return alphas
    for stem, spelling in shown.match.spelled.items():
        roles = marks.pieces[stem]
        if "alpha" not in roles and "down" in roles:
            component, _, name = spelling.module.partition(".")
            alphas.add(rules[component].alpha_of(inner_names(component, name), header.tensors[roles["down"]].shape[0]))
    return alphas


def _elements(sorts: Sequence[Sort]) -> Counter[str]:
    """How many numbers each dtype has, alphas apart."""
    counted: Counter[str] = Counter()
    for sort in sorts:
        for role, dtype, shape in sort.tensors:
            if role != "alpha":
                counted[dtype] += sort.count * math.prod(shape)
    return counted


def _variant(choice: Choice) -> Finding:
    if choice.candidate is None:
        return nothing("no family to compare with")
    needed = choice.candidate.tally.variants
    if not needed:
        return Finding(STANDARD, VARIANT, (f"every adapted module is one of {choice.candidate.name}'s own",))
    return Finding("+".join(needed), VARIANT, (f"it adapts a module that only {' and '.join(needed)} bases have so",))


def _warnings(
    opened: AdapterFile, marks: Marks, sorts: Sequence[Sort], choice: Choice, shown: Candidate | None, is_named: bool
) -> Iterator[str]:
    if not is_named:
        yield "no key names a module of a known architecture: not an adapter of a known base"
    if choice.broken:
        yield choice.broken
    if marks.strange:
        yield f"{len(marks.strange)} keys carry no adapter's mark, e.g. {marks.strange[0]!r}"
    if any("magnitude" in sort.shapes for sort in sorts):
        yield _of_dora(marks)
    for kind in sorted(_kinds(sorts).keys() - READ_BY_ALL):
        needs = ", and its change depends on the base's weights" if kind in NEEDS_BASE else ""
        yield f"{kind}: {_readers(kind, sorts)}{needs}"
    if shown and shown.match.spelled:
        yield from _layout_warnings(opened, sorts, shown.match)


def _of_dora(marks: Marks) -> str:
    """Which runtimes drop the magnitudes, by what they are called."""
    keys = (roles["magnitude"] for roles in marks.pieces.values() if "magnitude" in roles)
    named = "dora_scale" if next(keys).endswith(DORA_SCALE) else "lora_magnitude_vector"
    drops, reads = ("diffusers", "ComfyUI reads") if named == "dora_scale" else ("ComfyUI", "diffusers and PEFT read")
    return (
        f"DoRA: {drops} drops {named} keys and paints with a plain adapter, {reads} them; runtimes disagree on "
        "strengths other than 1"
    )


def _readers(kind: str, sorts: Sequence[Sort]) -> str:
    """Which runtimes read the kind, and which refuse or drop it."""
    roles = {role for sort in sorts for role in sort.shapes}
    if roles & OF_PEFT_ALONE or ("ia3_l" in roles and "on_input" not in roles):
        return "diffusers refuses PEFT's keys of it and ComfyUI drops them, PEFT alone reads them"
    if kind == "ia3":
        return "diffusers refuses its keys and ComfyUI drops them, LyCORIS reads them"
    return "diffusers refuses its keys, ComfyUI and LyCORIS read them"


def _layout_warnings(opened: AdapterFile, sorts: Sequence[Sort], match: Match) -> Iterator[str]:
    layouts = set(match.layouts)
    if {Layout.KOHYA, Layout.KOHYA_SGM} <= layouts:
        yield "U-Net keys in both of kohya's dialects: diffusers drops the sgm half"
    has_alpha = any("alpha" in sort.shapes for sort in sorts)
    has_configuration = opened.config is not None or ADAPTER_METADATA in opened.header.metadata
    if Layout.PEFT in layouts and not has_configuration and not has_alpha:
        yield "PEFT keys without adapter_config.json: alpha is unknown, the scale is taken to be 1"
