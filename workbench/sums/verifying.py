"""One question for every result: is it what its recipe says, or what a recipe given beside it says?"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.recipes.architectures import Architectures
from workbench.recipes.references import resolve_target
from workbench.sums import baking, composing

if TYPE_CHECKING:
    from arithmetic import BakeCertificate, Certificate, Resources
    from registry import Registry


def verify(
    registry: "Registry | None",
    target: str,
    *,
    recipe: str | None = None,
    base: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], object] | None = None,
    resources: "Resources | None" = None,
) -> "Certificate | BakeCertificate":
    """Prove a vector or a checkpoint (a path or a version) against the inputs of its own recipe, or of `recipe`.

    Raises as `composing.verify` for vectors and `baking.verify_bake` for checkpoints.
    """
    found = resolve_target(registry, target)
    if Architectures(registry).is_base(found):
        notify = composing.stoppable(progress, cancelled)
        return baking.verify_bake(registry, found, recipe=recipe, base=base, progress=notify, resources=resources)
    return composing.verify(
        registry, target, recipe=recipe, base=base, progress=progress, cancelled=cancelled, resources=resources
    )
