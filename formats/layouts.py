"""Where the factors of a low-rank adapter are in a file, found by looking its keys up in a module table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from formats.architecture import Architecture
from formats.errors import NotAnAdapter, UnknownLayout, UnknownModule
from formats.header import Header
from formats.marks import Marks, read_marks
from formats.matching import Ballot, Match, Misfit
from formats.scales import AlphaRule, alpha_rules
from formats.spellings import Layout, inner_names, stems

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
class Factors:
    """One module's factors in a file. The scale is alpha / rank; `alpha` is None where `alpha_key` holds it.

    Where the table has a linear layer the tensors may carry a 1x1 kernel, and the other way round.
    """

    module: str
    down: str
    up: str
    alpha_key: str | None
    alpha: float | None
    rank: int


@dataclass(frozen=True, slots=True)
class Located:
    """Every key of a file accounted for: in `factors` or in `unmatched`; `misfits` are unmatched for their shapes."""

    layout: Layout
    factors: tuple[Factors, ...]
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
    """Where `architecture`'s modules have their low-rank factors in the file of `header`.

    `config` is the adapter_config.json of a PEFT folder. Factors come in the order of the module table.
    Raises NotAnAdapter when no key carries an adapter's mark, UnknownLayout when no key names a module of the table.
    """
    marks = read_marks(header)
    if not any("down" in roles or "up" in roles for roles in marks.pieces.values()):
        raise NotAnAdapter(f"{header.path}: no low-rank adapter: {_example(header)}. `tau identify` says what it is.")
    match = match_table(marks, header, architecture)
    if not match.spelled and not match.misfits:
        raise UnknownLayout(
            f"{header.path}: none of its {len(marks.pieces)} adapted modules is one of {architecture.name}'s "
            f"in any known layout, {_example(header)}. Name the base that it was trained on."
        )
    rules = alpha_rules(header, config)
    found = {s.module: _factors(s.module, marks.pieces[stem], header, rules) for stem, s in match.spelled.items()}
    factors = {module: found[module] for module in architecture.modules if found.get(module)}
    used = {key for f in factors.values() if f for key in (f.down, f.up, f.alpha_key)}
    unmatched = tuple(key for key in header.tensors if key not in used)
    return Located(layout_of(match), tuple(f for f in factors.values() if f), unmatched, match.misfits)


def match_table(marks: Marks, header: Header, architecture: Architecture) -> Match:
    """Look every stem up in the table, the normalisations included, and compare shapes.

    A module that is spelled twice counts once.
    """
    return Ballot(marks, header, (architecture,)).match(0)


def layout_of(match: Match) -> Layout:
    """The layout of most modules; the U-Net's decide, since kohya's two dialects agree on text encoders."""
    counted = match.layouts
    return counted.most_common(1)[0][0] if counted else Layout.DIFFUSERS


def _factors(module: str, roles: Mapping[str, str], header: Header, rules: Mapping[str, AlphaRule]) -> Factors | None:
    """The factors of one module; None unless its pieces are down, up and at most an alpha."""
    if not {"down", "up"} <= roles.keys() <= {"down", "up", "alpha"}:
        return None
    rank = header.tensors[roles["down"]].shape[0]
    component, _, name = module.partition(".")
    alpha_key = roles.get("alpha")
    alpha = None if alpha_key else rules[component].alpha_of(inner_names(component, name), rank)
    return Factors(module, roles["down"], roles["up"], alpha_key, alpha, rank)


def _example(header: Header) -> str:
    first = next(iter(sorted(header.tensors)), None)
    return "it holds no tensor" if first is None else f"e.g. {first!r}"
