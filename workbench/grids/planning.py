"""Grids of pictures: what changes along two axes, planned before anything is painted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

from workbench.errors import InvalidAxis, InvalidSettings
from workbench.grids.axes import SAMPLING, Axis, Value
from workbench.grids.cells import Cell, Ground
from workbench.grids.dials import find_dial, turned
from workbench.painting.init_pictures import keep_init
from workbench.painting.previewing import findings_of, require_fitting
from workbench.painting.profiles import Sampling, SamplingWords, chosen_sampling
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe

if TYPE_CHECKING:
    from arithmetic import Finding
    from registry import Preview, Registry

MOST_CELLS = 4_096
"""Of one grid."""

DEFAULT_SEEDS = (0,)


@dataclass(frozen=True)
class Panel:
    """One sheet of a grid: everything on it shares this prompt and seed, unless an axis has them (None)."""

    prompt: str | None
    seed: int | None


@dataclass(frozen=True)
class GridPlan:
    """A grid before it is painted. `cells` go panel by panel, row by row; x goes across, y down."""

    text: str
    x: Axis
    y: Axis | None
    panels: tuple[Panel, ...]
    cells: tuple[Cell, ...]

    @property
    def columns(self) -> tuple[Value, ...]:
        return self.x.values

    @property
    def rows(self) -> tuple[Value | None, ...]:
        """The values of y; one row of None without it."""
        return self.y.values if self.y else (None,)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key of each cell, each once."""
        return tuple(dict.fromkeys(cell.key for cell in self.cells))

    def cell(self, row: int, column: int, panel: int = 0) -> Cell:
        """The cell that stands there."""
        return self.cells[(panel * len(self.rows) + row) * len(self.columns) + column]

    def recipe_of(self, cell: Cell) -> str:
        """The text in which the cell's numbers are turned: the value of an axis that has recipes, else `text`."""
        for axis, place in ((self.x, cell.column), (self.y, cell.row)):
            if axis and axis.is_setting and axis.name == "recipe":
                return str(axis.values[place])
        return self.text

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: the spec of its job, and the record of its sheet."""
        return {
            "text": self.text,
            "x": str(self.x),
            "y": str(self.y) if self.y else None,
            "panels": [asdict(panel) for panel in self.panels],
            "cells": [cell.to_json() for cell in self.cells],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The plan that `to_json` wrote. Raises InvalidSettings, InvalidAxis."""
        keys = ("text", "x", "y", "panels", "cells")
        if set(document) != set(keys):
            raise InvalidSettings(f"a grid has {', '.join(sorted(document))}; expected {', '.join(keys)}")
        y = document["y"]
        return cls(
            document["text"],
            Axis.parse(document["x"]),
            None if y is None else Axis.parse(y),
            tuple(Panel(one["prompt"], one["seed"]) for one in document["panels"]),
            tuple(map(Cell.from_json, document["cells"])),
        )


def plan_grid(
    registry: "Registry",
    text: str,
    *,
    prompts: Sequence[str] = (),
    x: Axis,
    y: Axis | None = None,
    base: str | None = None,
    sampling: Sampling | None = None,
    seeds: Sequence[int] = DEFAULT_SEEDS,
    **said: Unpack[SamplingWords],
) -> GridPlan:
    """The cells of a grid over `x` and `y`, a panel for each prompt and seed that no axis has. Paints nothing.

    `text` is the recipe, empty where an axis has it. How is said by the axes, then word by word (`said`); the rest is
    `sampling`, by default what the recipe's vectors were made for.

    Raises:
        InvalidAxis: two axes of one thing; a thing that is said beside its axis, or by nobody; too many cells.
        Others: as `preview` before it paints.
    """
    axes = (x, y) if y else (x,)
    _require_apart(axes)
    panels = _panels(axes, prompts, seeds)
    _require_few(axes, panels)
    words = {name: value for name, value in said.items() if value is not None}
    for name in words:
        _said(axes, name, (words[name],), name)
    grounds = _Grounds(registry, base, sampling, words)
    texts = _said(axes, "recipe", (text,) if text.strip() else (), "a recipe")
    cells = [
        grounds.cell((k, i, j), texts[0], panel, values)
        for k, panel in enumerate(panels)
        for i, below in enumerate(y.values if y else (None,))
        for j, across in enumerate(x.values)
        for values in [[(x, across), *([(y, below)] if y and below is not None else [])]]
    ]
    return GridPlan(text, x, y, panels, tuple(cells))


def grid_findings(registry: "Registry", plan: GridPlan) -> "tuple[Finding, ...]":
    """What there is to know before a grid is painted, of each way in which it is: each finding once."""
    ways = {cell.sampling: cell for cell in reversed(plan.cells)}
    found = [
        finding
        for cell in reversed(ways.values())
        for finding in findings_of(registry, resolve_recipe(registry, cell.pinned, cell.base), cell.sampling)
    ]
    return tuple(dict.fromkeys(found))


def painted_cells(registry: "Registry", plan: GridPlan) -> "dict[str, Preview]":
    """Key -> picture of the cells that are painted; those that are not are left out."""
    return registry.pictures(plan.keys)


class _Grounds:
    """Each recipe of a grid is looked up once; a number is changed in its tree, without looking anything up."""

    def __init__(
        self, registry: "Registry", base: str | None, sampling: Sampling | None, words: Mapping[str, Any]
    ) -> None:
        self._registry, self._base, self._sampling, self._words = registry, base, sampling, words
        self._found: dict[str, tuple[ResolvedRecipe, Ground]] = {}
        self._chosen: dict[tuple[object, ...], Sampling] = {}

    def cell(
        self, place: tuple[int, int, int], text: str | None, panel: Panel, values: Sequence[tuple[Axis, Value]]
    ) -> Cell:
        """The cell at a place where the axes have these values."""
        said: dict[str, Any] = {axis.name: value for axis, value in values if axis.is_setting}
        resolved, ground = self._ground(said.get("recipe", text))
        for axis, value in values:
            if axis.is_term:
                ground = _turned(resolved, ground, axis.name, float(value))
        sampling = self._how(resolved, {name: said[name] for name in SAMPLING if name in said})
        prompt = panel.prompt if panel.prompt is not None else str(said["prompt"])
        seed = panel.seed if panel.seed is not None else int(said["seed"])
        return Cell.at(place, ground, prompt, seed, sampling)

    def _ground(self, text: str) -> tuple[ResolvedRecipe, Ground]:
        if text not in self._found:
            resolved = resolve_recipe(self._registry, text, self._base)
            require_fitting(resolved)
            self._found[text] = resolved, Ground.of(resolved)
        return self._found[text]

    def _how(self, resolved: ResolvedRecipe, turned: Mapping[str, Any]) -> Sampling:
        asked = (resolved.text, *sorted(turned.items()))
        if asked not in self._chosen:
            words: Any = {**self._words, **turned}
            chosen = chosen_sampling(self._registry, resolved, self._sampling, **words)
            self._chosen[asked] = keep_init(self._registry, chosen)
        return self._chosen[asked]


def _turned(resolved: ResolvedRecipe, ground: Ground, name: str, value: float) -> Ground:
    dial = find_dial(ground.recipe, name)
    if len(dial.path) == 1 and dial.factor is None and resolved.is_base(resolved.recipe.terms[dial.path[0][1]]):
        raise InvalidAxis(f"axis {name}: it is the base, whose coefficient is 1; turn a vector, or take an axis recipe")
    return replace(
        ground,
        recipe=turned(ground.recipe, dial, value),
        pinned=turned(ground.pinned, dial, value),
        locked=turned(ground.locked, dial, value),
    )


def _panels(axes: Sequence[Axis], prompts: Sequence[str], seeds: Sequence[int]) -> tuple[Panel, ...]:
    own = () if tuple(seeds) == DEFAULT_SEEDS and any(axis.name == "seed" for axis in axes) else tuple(seeds)
    across = _said(axes, "prompt", tuple(dict.fromkeys(prompts)), "a prompt")
    return tuple(Panel(prompt, seed) for prompt in across for seed in _said(axes, "seed", own, "a seed"))


def _said(axes: Sequence[Axis], name: str, values: Sequence[Any], what: str) -> tuple[Any, ...]:
    """The values that are said outside the axes; (None,) where an axis has them."""
    is_axis = any(axis.is_setting and axis.name == name for axis in axes)
    if is_axis and values:
        raise InvalidAxis(f"axis {name}: {what} is named beside it; leave one of them out")
    if not is_axis and not values:
        raise InvalidAxis(f"no axis has {what}, and none is named; name one")
    return (None,) if is_axis else tuple(values)


def _require_apart(axes: Sequence[Axis]) -> None:
    if len({(axis.name, axis.is_term) for axis in axes}) < len(axes):
        raise InvalidAxis(f"x and y are both {axes[0].name}; turn two different things")


def _require_few(axes: Sequence[Axis], panels: Sequence[Panel]) -> None:
    count = len(panels)
    for axis in axes:
        count *= len(axis.values)
    if count > MOST_CELLS:
        raise InvalidAxis(f"{count} cells, at most {MOST_CELLS}; take fewer values, prompts or seeds")
