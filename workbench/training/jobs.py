"""The training jobs: what a worker's subprocess runs, from the job's spec to the registered vector or base."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ChangedInput, NotABase, NotAVector
from workbench.sums.measuring import measure_version
from workbench.training.orders import RESULT_KINDS, Order, settings_of

if TYPE_CHECKING:
    from arithmetic import Vector
    from distill_jobs import Dataset, JobContext
    from distill_jobs.evaluation.settings import EvaluationSettings
    from registry import Parent, Registry
    from sampling import Judge

FEW_STEPS = (1, 2, 4, 8)
"""What a consistency-distilled vector is made for."""

OF_A_STUDENT = ("distilled_from", "teacher")
"""How what was distilled out of a base came from it."""

CONSISTENCY_SAMPLING = {
    "solver": "lcm",
    "steps": list(FEW_STEPS),
    "convention": "diffusers",
    "timestep_spacing": "trailing",
    "original_inference_steps": 50,
}
"""How a consistency model paints."""

GIVEN_UP = {"release": True}
"""A job's pipeline is nobody else's: what the steps do not need goes out of memory."""


@dataclass(frozen=True)
class Work:
    """A training job at its beginning: its order, its settings, its data, and the opened base."""

    order: Order
    settings: Any
    dataset: "Dataset"
    pipe: Any
    base: Path

    @classmethod
    def of(cls, context: "JobContext", form: str) -> "Work":
        """Check the order and everything that it names, and inspect them before the first attempt's first step.

        Raises NotFound, InvalidSettings, ChangedInput, DatasetError, BaseUnreadable, UnsupportedBase, PreflightRefused.
        """
        from sampling import load_pipeline

        order = Order.of(context.spec)
        settings, dataset = settings_of(form, order.settings), _dataset(order, context.folder)
        base = context.registry.folder(context.registry.get(order.base))
        work = cls(order, settings, dataset, load_pipeline(base), base)
        work.inspect(context.folder, form)
        return work

    def inspect(self, folder: Path, form: str) -> None:
        """Refuse what is known to go wrong, and say what the training will need; a resumed job was inspected before."""
        from distill_jobs.preflight.inspection import require_no_error
        from distill_jobs.training.trainer import CHECKPOINT

        if (folder / CHECKPOINT).exists():
            return
        found = require_no_error(form, self.pipe, self.dataset, self.settings, folder)
        for finding in found.verdict.findings:
            print(f"pre-flight, {finding.severity}: {finding.sentence} {finding.remedy}".rstrip())
        print(f"pre-flight: {found.needs.sentence}", flush=True)


def distil_acceleration(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind lcd-lora: distil the base, register the acceleration vector."""
    from distill_jobs import distil

    work = Work.of(context, "lcd-lora")
    measured = _measuring(context, work)
    path = distil(work.pipe, work.dataset, work.settings, **_watched(context), **measured, **GIVEN_UP)
    sampling = {**CONSISTENCY_SAMPLING, "guidance": [1.0, 2.0], "distilled_w": work.settings.w}
    made = _register(context, work, path, "lcd-lora", relations=OF_A_STUDENT, sampling=sampling)
    return made | _measured(context, work.settings.evaluation)


def train_style_vector(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind style: train on the pictures, register the style vector."""
    from distill_jobs import train_style

    work = Work.of(context, "style")
    path = train_style(work.pipe, work.dataset, work.settings, **_watched(context))
    return _register(context, work, path, "style", sampling={})


def distil_whole_base(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind lcd: distil the base into one that is told its guidance, and register that."""
    from distill_jobs import distil_base

    work = Work.of(context, "lcd")
    measured = _measuring(context, work)
    path = distil_base(work.pipe, work.base, work.dataset, work.settings, **_watched(context), **measured)
    sampling = _embedded_guidance(work.settings.w_min, work.settings.w_max)
    made = _register(context, work, path, "lcd", relations=OF_A_STUDENT, sampling=sampling)
    return made | _measured(context, work.settings.evaluation)


def tune_consistency(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind lcf: a style vector beside an acceleration vector, or all weights of a distilled base."""
    return _tune_vector(context) if "acceleration" in context.spec else _tune_base(context)


def _tune_base(context: "JobContext") -> dict[str, Any]:
    from distill_jobs import tune_base

    work = Work.of(context, "lcf")
    path = tune_base(work.pipe, work.base, work.dataset, work.settings, **_watched(context))
    sampling = _embedded_guidance(work.settings.w_min, work.settings.w_max)
    return _register(context, work, path, "lcf", relations=("distilled_from",), sampling=sampling)


def _tune_vector(context: "JobContext") -> dict[str, Any]:
    from distill_jobs import tune_vector
    from registry import Parent

    work = Work.of(context, "lcf-lora")
    named = str(work.order.acceleration)
    acceleration = open_acceleration(context.registry, named, work.order.base)
    path = tune_vector(work.pipe, acceleration, work.dataset, work.settings, **_watched(context))
    sampling = {**CONSISTENCY_SAMPLING, "guidance": [1.0, 2.0]}
    beside = (Parent(named, "distilled_from", 1.0),)
    return _register(context, work, path, "lcf-lora", beside=beside, sampling=sampling)


def open_acceleration(registry: "Registry", reference: str, base: str) -> "Vector":
    """The acceleration vector that `reference` names, in the modules of `base`.

    Raises NotFound, NotAVector for a version of another kind, AlgebraError or FormatError for a vector of another base.
    """
    from arithmetic import open_vector
    from workbench.recipes.architectures import Architectures

    version, table = registry.get(reference), Architectures(registry).of(registry.get(base))
    if version.kind != "acceleration":
        raise NotAVector(
            f"{reference}: {version.ref} is of kind {version.kind}, expected an acceleration vector; "
            "make one: tau distill lcd-lora"
        )
    if table is None:
        raise NotABase(f"{base}: has no module table; import it again: tau import FOLDER --kind base")
    return open_vector(registry.file(version), table, name=version.ref)


def _embedded_guidance(w_min: float, w_max: float) -> dict[str, Any]:
    """How a U-Net that is told its guidance paints; guidance scales are w + 1."""
    return {**CONSISTENCY_SAMPLING, "guidance": [w_min + 1, w_max + 1], "distilled_w": [w_min, w_max]}


def _watched(context: "JobContext") -> dict[str, Any]:
    """Where a training works, whom it tells how far it is, and who may stop it."""
    return {"folder": context.folder, "report": context.report, "cancelled": context.cancelled}


def _measuring(context: "JobContext", work: Work) -> dict[str, Any]:
    """Who reads the pictures of an evaluation, and where its numbers go."""
    return {"judge": _judge(work), "record": context.record}


def _judge(work: Work) -> "Judge | None":
    """The judge that the base carries, where something is evaluated."""
    from sampling import find_judge

    return find_judge(work.base) if work.settings.evaluation.every else None


def _dataset(order: Order, folder: Path) -> "Dataset":
    """The data set of the order, unchanged; what is left out of it is named in the log and in a file of `folder`."""
    from distill_jobs.errors import CorruptPictures
    from workbench.training.datasets import CORRUPT_LIST, open_dataset, reading_of

    try:
        dataset = open_dataset(order.data, reading_of(order.reading))
    except CorruptPictures as error:
        (folder / CORRUPT_LIST).write_text("\n".join(error.problems) + "\n", encoding="utf-8")
        raise
    if dataset.left_out:
        (folder / CORRUPT_LIST).write_text("\n".join(dataset.left_out) + "\n", encoding="utf-8")
        print(f"{len(dataset.left_out)} corrupt pictures are left out, {len(dataset.entries)} are used:")
        print("\n".join(dataset.left_out), flush=True)
    if dataset.fingerprint != order.fingerprint:
        raise ChangedInput(
            f"{order.data}: its pictures or captions changed after the job was submitted "
            f"({dataset.fingerprint[:12]}, not {order.fingerprint[:12]}); submit the job again"
        )
    return dataset


def _measured(context: "JobContext", evaluation: "EvaluationSettings") -> dict[str, Any]:
    """The table of the checkpoint that was exported, for the job's result."""
    from distill_jobs.evaluation.table import last_table
    from distill_jobs.training.checkpoints import best_step

    if not evaluation.every:
        return {}
    step = best_step(context.folder) if evaluation.export == "best" else None
    return {"evaluation": last_table(context.folder, step)}


def _register(
    context: "JobContext",
    work: Work,
    path: Path,
    form: str,
    *,
    relations: Sequence[str] = (),
    beside: "Sequence[Parent]" = (),
    sampling: dict[str, Any],
) -> dict[str, Any]:
    """Register the result with edges to its base and data; refused when the lease on the job is lost.

    `relations` are those to the base beside a vector's adapter_of; `beside` are edges to others. The origin names the
    job and the code that ran it.
    """
    from distill_jobs.software import code_version
    from registry import Origin, Parent
    from registry.names import slug_of

    order, dataset, kind = work.order, work.dataset, RESULT_KINDS[form]
    known = context.registry.add_dataset(
        slug_of(dataset.title),
        dataset.fingerprint,
        dataset.uri,
        order.data_license or dataset.license,
        kind=dataset.kind,
        revision=dataset.revision,
        pictures=len(dataset.entries),
        left_out=len(dataset.left_out),
    )
    version = context.registry.add(
        path,
        kind=kind,
        name=order.name,
        base=None if kind == "base" else order.base,
        draft=order.draft,
        edges=[*(Parent(order.base, relation) for relation in relations), *beside, Parent(known.ref, "trained_on")],
        origin=Origin("job", context.lease.job.ref, code_version()),
        sampling=sampling,
        recommended_strength=None if kind == "base" else 1.0,
        lease=context.lease,
    )
    measure_version(context.registry, version)
    left_out = {"left_out": len(dataset.left_out)} if dataset.left_out else {}
    return {"version": version.ref, **left_out}
