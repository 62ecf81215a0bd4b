"""What stands beside the pictures of a grid: titles, labels, and a legend of what they share."""

from workbench.grids.axes import Axis, Value
from workbench.grids.cells import Cell
from workbench.grids.planning import GridPlan, Panel
from workbench.painting.previewing import Sampling

DIGEST_SHOWN = len("sha256:") + 12


def title_of(plan: GridPlan) -> str:
    """The axes in words."""
    return f"{plan.x.title} across, {plan.y.title} down" if plan.y else f"{plan.x.title} across"


def legend_of(plan: GridPlan) -> list[tuple[str, str]]:
    """(name, value) of what all cells share; what an axis or a panel changes is left out."""
    from sampling.software import software

    first = plan.cells[0]
    shared = {
        "Recipe": {plan.text} if plan.text.strip() else {cell.pinned for cell in plan.cells},
        "Base": {f"{cell.base} sha256:{cell.base_digest[:12]}" for cell in plan.cells},
        "Prompt": {cell.prompt for cell in plan.cells},
        "Seed": {str(cell.seed) for cell in plan.cells},
        "Painted by": {sampling_words(cell.sampling, without=_turned_settings(plan)) for cell in plan.cells},
        "Digests": {_versions(first)} if not _is_turned(plan, "recipe") else set(),
        "Software": {", ".join(f"{name} {version}" for name, version in software().items())},
    }
    return [(name, next(iter(values))) for name, values in shared.items() if len(values) == 1 and values != {""}]


def axis_label(axis: Axis, value: Value | None) -> str:
    """What stands above a column or beside a row, so that it is understood without the legend."""
    if value is None:
        return ""
    is_text = axis.is_setting and axis.name in ("prompt", "recipe")
    return axis.label(value) if is_text else f"{axis.name} {axis.label(value)}"


def _is_turned(plan: GridPlan, name: str) -> bool:
    return name in _turned_settings(plan)


def _turned_settings(plan: GridPlan) -> tuple[str, ...]:
    return tuple(axis.name for axis in (plan.x, plan.y) if axis is not None and axis.is_setting)


def panel_title(plan: GridPlan, panel: Panel) -> str:
    """What tells one panel from the others; empty where there is only one."""
    if len(plan.panels) == 1:
        return ""
    own = {"prompt": panel.prompt, "seed": panel.seed}
    differing = [name for name in own if len({vars(other)[name] for other in plan.panels}) > 1]
    return ", ".join(f"seed {own[name]}" if name == "seed" else str(own[name]) for name in differing)


def sampling_words(sampling: Sampling, without: tuple[str, ...] = ()) -> str:
    """How something is painted, on one line; what is not said or none is left out."""
    said = {name: value for name, value in sampling.said.items() if name not in without}
    solver = [str(said.pop("solver"))] if "solver" in said else []
    rest = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in said.items() if value]
    return ", ".join([*solver, *rest])


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _versions(cell: Cell) -> str:
    """The versions and digests of a cell's recipe: `soft:1 sha256:ab12...`."""
    from arithmetic import parse

    pairs = dict(zip(parse(cell.pinned).names(), parse(cell.locked).names(), strict=True))
    return ", ".join(f"{name} {digest[:DIGEST_SHOWN]}" for name, digest in pairs.items())
