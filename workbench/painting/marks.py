"""Whether models that are marked NSFW take part in what was painted, so that a page blurs it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workbench.grids.planning import GridPlan
from workbench.recipes.references import is_path

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job

NAMED = ("base", "acceleration", "name")
"""What a job's spec calls the versions that it paints with; `name` is the one that it makes, or makes anew."""


def is_marked(registry: "Registry", recipes: Iterable[str], *names: str) -> bool:
    """Whether a model in one of the recipes, or one of those that are named, is marked.

    What nothing answers to is not marked. Raises RecipeSyntaxError.
    """
    from arithmetic import parse

    references = {reference for text in recipes for reference in parse(text).references}
    return any(_is_marked(registry, one) for one in sorted({*references, *names}))


def marked_cells(registry: "Registry", plan: GridPlan) -> frozenset[str]:
    """The keys of the cells in which a marked model takes part."""
    of_recipe = {plan.recipe_of(cell): cell for cell in plan.cells}
    marked = {text for text, cell in of_recipe.items() if is_marked(registry, (cell.pinned, cell.locked), cell.base)}
    return frozenset(cell.key for cell in plan.cells if plan.recipe_of(cell) in marked)


def is_job_marked(registry: "Registry", job: "Job") -> bool:
    """Whether a marked model takes part in the pictures of a job: by its order, and by what their records say."""
    result = job.result or {}
    records = [picture.get("record") or {} for picture in result.get("pictures") or ()]
    recipes = [job.spec.get("recipe"), *(record.get("locked") for record in records)]
    names = [*(job.spec.get(key) for key in NAMED), result.get("version")]
    return is_marked(registry, {text for text in recipes if text}, *(name for name in names if name))


def _is_marked(registry: "Registry", reference: str) -> bool:
    from registry import RegistryError

    if is_path(reference):
        return False
    try:
        return registry.get(reference).nsfw
    except RegistryError:
        return False
