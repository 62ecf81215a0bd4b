"""A grid as a person orders it on a page: texts of a URL; what could stand on its axes; what is left to paint."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.errors import InvalidAxis, InvalidSettings
from workbench.grids.axes import SETTINGS, TEXTS, Axis, Value
from workbench.grids.dials import Dial, dials_of, value_at
from workbench.grids.planning import DEFAULT_SEEDS, GridPlan, plan_grid
from workbench.painting.profiles import Sampling, SamplingWords, chosen_sampling
from workbench.recipes.references import require_names
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe

if TYPE_CHECKING:
    from registry import Preview, Registry

ACROSS, DOWN = (0.0, 1.2, 4), (0.6, 1.2, 3)
"""From, to and count of the strengths that are proposed for x and y."""

MOST_SEED_DIGITS = 10


@dataclass(frozen=True)
class GridOrder:
    """What somebody asked for, as it stands in the fields of the page."""

    recipe: str
    x: str
    y: str = ""
    prompts: tuple[str, ...] = ()
    base: str | None = None
    seeds: str = ""
    """Whole numbers and commas; empty for the usual one."""
    settings: SamplingWords = field(default_factory=SamplingWords)
    """What somebody chose of the sampling."""


def plan_order(registry: "Registry", order: GridOrder) -> GridPlan:
    """The grid of an order, nothing painted.

    Raises what `plan_grid` raises, InvalidSettings for seeds, UnsupportedRecipe for a path: only what is registered is
    looked at.
    """
    x, y = Axis.parse(order.x), Axis.parse(order.y) if order.y.strip() else None
    _require_names((order.recipe, *(text for axis in (x, y) if axis for text in _recipes(axis))), order.base)
    return plan_grid(
        registry,
        order.recipe,
        prompts=order.prompts,
        x=x,
        y=y,
        base=order.base,
        sampling=_sampling(registry, order, [axis for axis in (x, y) if axis]),
        seeds=seeds_of(order.seeds),
    )


def seeds_of(text: str) -> tuple[int, ...]:
    """The seeds in a text such as `0, 1, 7`; the usual one of an empty text. Raises InvalidSettings."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if odd := [word for word in words if not re.fullmatch(f"[0-9]{{1,{MOST_SEED_DIGITS}}}", word)]:
        raise InvalidSettings(f"seed {odd[0]!r}: expected whole numbers and commas, such as 0, 1, 7")
    return tuple(dict.fromkeys(map(int, words))) or DEFAULT_SEEDS


def proposed_axes(registry: "Registry", recipe: str, base: str | None = None) -> tuple[str, str]:
    """Strength against strength: axes over the first two vectors of a recipe; the second empty where there is one."""
    _require_names([recipe], base)
    names = (*map(_written, _strengths(resolve_recipe(registry, recipe, base))), "", "")
    x, y = (
        f"{name}={start:g}:{stop:g}:{count}" if name else ""
        for name, (start, stop, count) in zip(names, (ACROSS, DOWN), strict=False)
    )
    return x, y


def turnable(registry: "Registry", recipe: str, base: str | None = None) -> tuple[str, ...]:
    """What an axis of this recipe can turn: the numbers in it, then the settings."""
    if not recipe.strip():
        return SETTINGS
    _require_names([recipe], base)
    resolved = resolve_recipe(registry, recipe, base)
    numbers = [name for name in dials_of(resolved.recipe) if name not in _bases(resolved)]
    return (*map(_written, numbers), *SETTINGS)


def extended_axis(text: str, more: str) -> str:
    """An axis with more values, written like those that it has: `0.5, 0.7`, or texts. Raises InvalidAxis."""
    axis = Axis.parse(text)
    head = str(axis).partition("=")[0]
    if not more.strip():
        raise InvalidAxis(f"axis {axis.name}: no value is named; give one more, such as {_example(axis)}")
    return str(axis.extended(*Axis.parse(f"{head}={more}").values))


def missing_cells(plan: GridPlan, painted: "Mapping[str, Preview]") -> int:
    """How many different pictures are not painted yet."""
    return sum(key not in painted for key in plan.keys)


def _sampling(registry: "Registry", order: GridOrder, axes: list[Axis]) -> Sampling | None:
    """What was chosen, above what the recipe's vectors want; None where nothing was chosen."""
    if all(value is None for value in order.settings.values()):
        return None
    texts = [order.recipe, *(text for axis in axes for text in _recipes(axis))]
    recipe = next((text for text in texts if text.strip()), "")
    return chosen_sampling(registry, resolve_recipe(registry, recipe, order.base), None, **order.settings)


def _recipes(axis: Axis) -> tuple[str, ...]:
    """The recipes that an axis turns; none where it turns something else."""
    return tuple(map(str, axis.values)) if axis.is_setting and axis.name == "recipe" else ()


def _require_names(recipes: Iterable[str], base: str | None) -> None:
    from arithmetic import parse

    for text in filter(str.strip, recipes):
        require_names(parse(text).references)
    require_names([base] if base else [])


def _strengths(resolved: ResolvedRecipe) -> dict[str, Dial]:
    """The strengths of the outermost terms that are no base, by name."""
    own = _bases(resolved)
    return {
        name: dial
        for name, dial in dials_of(resolved.recipe).items()
        if len(dial.path) == 1 and dial.factor is None and name not in own and value_at(resolved.recipe, dial)
    }


def _bases(resolved: ResolvedRecipe) -> set[str]:
    """The names of the terms whose coefficient is a base's, which no axis turns."""
    terms = resolved.recipe.terms
    return {
        name
        for name, dial in dials_of(resolved.recipe).items()
        if len(dial.path) == 1 and dial.factor is None and resolved.is_base(terms[dial.path[0][1]])
    }


def _written(name: str) -> str:
    """The name of a number as an axis is written with it: in quotes where a setting is called so."""
    return f'"{name}"' if name in SETTINGS else name


def _example(axis: Axis) -> Value:
    return axis.values[-1] if axis.name in TEXTS else 0.5
