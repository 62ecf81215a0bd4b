"""The pre-flight of a job before it is queued: what is known to go wrong, and what it will need."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InvalidSettings, NotInspected
from workbench.intake.hub import SCHEME
from workbench.intake.open_folders import allowed_path, require_unmoved
from workbench.jobs.queueing import distillation_spec, queue_of, submit_spec, training_spec
from workbench.training.forms import order_of

if TYPE_CHECKING:
    from distill_jobs import JobContext
    from distill_jobs.preflight.inspection import Preflight
    from registry import Registry
    from registry.jobs import Job

KIND = "preflight"
KEYS = ("kind", "order")
"""What a spec says: the kind of the training, and what its submission takes."""


def preflight(registry: "Registry", kind: str, **order: Any) -> "Preflight":
    """Inspect what `submit_distillation` or `submit_training` would queue, and queue nothing.

    Opens the base and runs a few of its passes. Raises what the submission would, and UnsupportedBase.
    """
    return _inspected(registry, kind, _spec(registry, kind, order))


def submit_form(registry: "Registry", kind: str, said: Mapping[str, Any], roots: tuple[Path, ...] = ()) -> "Job":
    """Have a painter inspect what a page's form orders: on pictures of the Hub, or inside the open folders `roots`.

    Raises what `order_of` and `pictures_of` raise.
    """
    order = order_of(said)
    return submit_preflight(registry, kind, **order | {"data": pictures_of(kind, order["data"], roots)})


def pictures_of(kind: str, text: str, roots: tuple[Path, ...] = ()) -> str:
    """What a page means by pictures to train on: a data set of the Hub, or a path or pattern inside `roots`, resolved.

    Raises InvalidAddress, ForbiddenPath, and DatasetError for a pattern of too many files.
    """
    from distill_jobs.data.sources import expanded
    from workbench.training.hub_datasets import parse_dataset_address

    said = text.strip()
    if said.startswith(SCHEME):
        parse_dataset_address(said)
        return said
    command = f"tau {'distill' if kind.startswith('lcd') else 'train'} {kind} --data"
    elsewhere = f"Train on it in a terminal: {command}"
    path = str(allowed_path(said, roots, elsewhere))
    for one in expanded(path):  # a pattern such as {..,a} leads further than it looks
        allowed_path(one, roots, elsewhere)
    return path


def submit_preflight(registry: "Registry", kind: str, **order: Any) -> "Job":
    """Have a painter inspect a training before it is ordered; `data` is of the Hub, or a whole path without links.

    Raises InvalidSettings for what JSON cannot hold.
    """
    try:
        said = json.loads(json.dumps({"kind": kind, "order": order}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidSettings(f"the order of a {kind} job: {error}; use numbers, texts and lists only") from error
    return queue_of(registry).submit(KIND, said, lane="interactive")


def run_preflight(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind preflight: the spec that was asked for with every default, and what was found about it."""
    if set(context.spec) != set(KEYS):
        raise InvalidSettings(f"the job's spec has {', '.join(sorted(context.spec))}; expected {', '.join(KEYS)}")
    kind, order = context.spec["kind"], context.spec["order"]
    if not order["data"].startswith(SCHEME):
        require_unmoved(order["data"])
    spec = _spec(context.registry, kind, order)
    found = _inspected(context.registry, kind, spec)
    said = {"kind": kind, "spec": spec, "needs_memory": order.get("needs_memory"), "ok": found.verdict.ok}
    return said | found.to_json() | {"sentence": found.needs.sentence}


def start_inspected(registry: "Registry", job: int) -> "Job":
    """Queue the training that a finished pre-flight inspected, as it was inspected. Raises NotInspected, NotFound."""
    seen = queue_of(registry).get(job)
    result = seen.result
    if seen.kind != KIND or seen.state != "succeeded" or result is None:
        raise NotInspected(f"job {job} is a {seen.kind} that is {seen.state}; expected a pre-flight that has succeeded")
    if not result["ok"]:
        wrong = " ".join(one["sentence"] for one in result["findings"] if one["severity"] == "error")
        raise NotInspected(f"the pre-flight, job {job}, found what would go wrong: {wrong} Mend it and check again")
    return submit_spec(registry, result["kind"], result["spec"], result["needs_memory"])


def _spec(registry: "Registry", kind: str, order: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: value for name, value in order.items() if name != "needs_memory"}
    return (distillation_spec if kind.startswith("lcd") else training_spec)(registry, kind=kind, **asked)


def _inspected(registry: "Registry", kind: str, spec: Mapping[str, Any]) -> "Preflight":
    from distill_jobs.preflight.inspection import inspect
    from sampling import load_pipeline
    from workbench.training.datasets import open_dataset, reading_of
    from workbench.training.orders import Order, form_of, settings_of

    asked = Order.of(spec)
    form = form_of(kind, asked.acceleration)
    pipe = load_pipeline(registry.folder(registry.get(asked.base)))
    dataset = open_dataset(asked.data, reading_of(asked.reading))
    return inspect(form, pipe, dataset, settings_of(form, asked.settings), registry.home)
