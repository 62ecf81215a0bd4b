"""Where the pieces of an adapter are in a file, found by looking its keys up in a module table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from formats.adapted_modules import AdaptedModule, modules_of_stem
from formats.architecture import Architecture
from formats.errors import NotAnAdapter, UnknownLayout, UnknownModule
from formats.header import Header
from formats.marks import Marks, kind_of, read_marks
from formats.matching import Ballot, Match, Misfit
from formats.scales import alpha_rules
from formats.spellings import Layout, stems

ENDS: Mapping[Layout, tuple[str, str, str | None]] = {
    Layout.KOHYA: (".lora_down.weight", ".lora_up.weight", ".alpha"),
    Layout.KOHYA_SGM: (".lora_down.weight", ".lora_up.weight", ".alpha"),
    Layout.DIFFUSERS: (".lora_A.weight", ".lora_B.weight", None),
    Layout.DIFFUSERS_OLD: (".down.weight", ".up.weight", None),
    Layout.PEFT: (".lora_A.weight", ".lora_B.weight", None),
    Layout.ONETRAINER: (".lora_down.weight", ".lora_up.weight", ".alpha"),
    Layout.COMFY: (".lora_down.weight", ".lora_up.weight", ".alpha"),
    Layout.LYCORIS: (".lora_down.weight", ".lora_up.weight", ".alpha"),
}
"""Layout -> the ends of the down, up and alpha keys."""


@dataclass(frozen=True, slots=True)
class FactorKeys:
    """The keys to write one module's factors under. `alpha` is None where the layout keeps it elsewhere."""

    down: str
    up: str
    alpha: str | None


@dataclass(frozen=True, slots=True)
class Located:
    """Every key of a file accounted for: in `modules` or in `unmatched`; `misfits` are unmatched for their shapes."""

    layout: Layout
    modules: tuple[AdaptedModule, ...]
    unmatched: tuple[str, ...]
    misfits: tuple[Misfit, ...]


def factor_keys(layout: Layout, module: str, architecture: Architecture) -> FactorKeys:
    """The keys of `module` in `layout`. Raises UnknownModule when the architecture or the layout does not have it."""
    spelled = stems(layout, module, architecture) if module in architecture.modules else ()
    if not spelled:
        raise UnknownModule(f"{module}: not a module of {architecture.name} that {layout} can name. Check the base.")
    down, up, alpha = ENDS[layout]
    return FactorKeys(spelled[0] + down, spelled[0] + up, None if alpha is None else spelled[0] + alpha)


def locate(header: Header, architecture: Architecture, config: Mapping[str, Any] | None = None) -> Located:
    """Where `architecture`'s modules have their pieces in the file of `header`, whatever the adapter's kind.

    `config` is the adapter_config.json of a PEFT folder. The table's modules come in its order, then biases and
    normalisations by name. Pieces that do not make a whole module are unmatched.
    Raises NotAnAdapter when no key carries an adapter's mark, UnknownLayout when no key names a module of the table.
    """
    marks = read_marks(header)
    if not any(kind_of(dict.fromkeys(roles, ())) for roles in marks.pieces.values()):
        raise NotAnAdapter(f"{header.path}: no adapter: {_example(header)}. `tau identify` says what it is.")
    match = match_table(marks, header, architecture)
    if not match.spelled and not match.misfits:
        raise UnknownLayout(
            f"{header.path}: none of its {len(marks.pieces)} adapted modules is one of {architecture.name}'s "
            f"in any known layout, {_example(header)}. Name the base that it was trained on."
        )
    found = _adapted(marks, match, header, architecture, config)
    used = {key for one in found.values() for key in one.keys.values()}
    unmatched = tuple(key for key in header.tensors if key not in used)
    listed = [found.pop(module) for module in architecture.modules if module in found]
    return Located(layout_of(match), (*listed, *(found[name] for name in sorted(found))), unmatched, match.misfits)


def match_table(marks: Marks, header: Header, architecture: Architecture) -> Match:
    """Look every stem up in the table, the normalisations included, and compare shapes.

    A module that is spelled twice counts once.
    """
    return Ballot(marks, header, (architecture,)).match(0)


def layout_of(match: Match) -> Layout:
    """The layout of most modules; the U-Net's decide, since kohya's two dialects agree on text encoders."""
    counted = match.layouts
    return counted.most_common(1)[0][0] if counted else Layout.DIFFUSERS


def _adapted(
    marks: Marks, match: Match, header: Header, architecture: Architecture, config: Mapping[str, Any] | None
) -> dict[str, AdaptedModule]:
    """Name -> what adapts it; of two that adapt one bias or normalisation the first counts."""
    rules = alpha_rules(header, config)
    found: dict[str, AdaptedModule] = {}
    for stem, spelling in match.spelled.items():
        roles = marks.pieces[stem]
        shapes = {role: header.tensors[key].shape for role, key in roles.items()}
        for one in modules_of_stem(spelling.module, roles, shapes, architecture, rules):
            found.setdefault(one.module, one)
    return found


def _example(header: Header) -> str:
    first = next(iter(sorted(header.tensors)), None)
    return "it holds no tensor" if first is None else f"e.g. {first!r}"
