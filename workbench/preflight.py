"""The pre-flight of a job before it is queued: what is known to go wrong, and what it will need."""

from typing import TYPE_CHECKING, Any

from workbench.jobs import distillation_spec, training_spec

if TYPE_CHECKING:
    from distill_jobs.preflight.inspection import Preflight
    from registry import Registry


def preflight(registry: "Registry", kind: str, **order: Any) -> "Preflight":
    """Inspect what `submit_distillation` or `submit_training` would queue, and queue nothing.

    Opens the base and runs a few of its passes. Raises what the submission would, and UnsupportedBase.
    """
    from distill_jobs.preflight.inspection import inspect
    from sampling import load_pipeline
    from workbench.datasets import open_dataset, reading_of
    from workbench.orders import Order, form_of, settings_of

    spec_of = distillation_spec if kind.startswith("lcd") else training_spec
    order.pop("needs_memory", None)
    asked = Order.of(spec_of(registry, kind=kind, **order))
    form = form_of(kind, asked.acceleration)
    pipe = load_pipeline(registry.folder(registry.get(asked.base)))
    dataset = open_dataset(asked.data, reading_of(asked.reading))
    return inspect(form, pipe, dataset, settings_of(form, asked.settings), registry.home)
