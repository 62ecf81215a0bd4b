"""The training jobs: what a worker's subprocess runs, from the job's spec to the registered vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.errors import ChangedInput, InvalidSettings, NotABase, NotAVector
from workbench.measuring import measure_version

if TYPE_CHECKING:
    from pydantic import BaseModel

    from arithmetic import Vector
    from distill_jobs import Dataset, JobContext, TrainingSettings
    from distill_jobs.evaluation.settings import EvaluationSettings
    from registry import Parent, Registry
    from sampling import Judge

S = TypeVar("S", bound="BaseModel")

FEW_STEPS = (1, 2, 4, 8)
"""What a consistency-distilled vector is made for."""


OF_A_STUDENT = ("distilled_from", "teacher")
"""How a base that was distilled out of another came from it."""

RESULT_KINDS = {"lcd-lora": "acceleration", "lcd": "base", "lcf": "base", "lcf-lora": "style", "style": "style"}
"""Form of job -> the kind of its result."""

OWN_KEYS = ("base", "data", "fingerprint", "name", "draft")
"""What a spec says beside the settings."""

OF_THE_DATA = ("reading", "data_license")
"""What a spec may say of its data: how it is read, and the licence that it is under."""


@dataclass(frozen=True)
class Order:
    """What every training is told: the base, the data and their fingerprint, the result's name, the settings."""

    base: str
    data: str
    fingerprint: str
    name: str
    draft: bool
    settings: dict[str, Any]
    reading: Mapping[str, Any] = field(default_factory=dict)
    data_license: str | None = None
    acceleration: str | None = None
    """The vector beside which a style is fine-tuned."""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "Order":
        """The order in a job's spec. Raises InvalidSettings when a key is missing."""
        if missing := [key for key in OWN_KEYS if key not in spec]:
            raise InvalidSettings(f"the job's spec lacks {', '.join(missing)}; submit it with tau distill or tau train")
        own = {key: spec[key] for key in (*OWN_KEYS, *OF_THE_DATA, "acceleration") if key in spec}
        return cls(**own, settings={key: value for key, value in spec.items() if key not in own})

    def spec(self) -> dict[str, Any]:
        """The job's spec."""
        said = {key: getattr(self, key) for key in (*OF_THE_DATA, "acceleration") if getattr(self, key)}
        return {key: getattr(self, key) for key in OWN_KEYS} | said | self.settings


def distil_acceleration(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind lcd-lora: distil the base, register the acceleration vector."""
    from distill_jobs import LcdLoraSettings, distil

    order = Order.of(context.spec)
    settings = checked(LcdLoraSettings, order.settings)
    dataset = _dataset(order, context.folder)
    path = distil(
        _pipeline(context, order),
        dataset,
        settings,
        folder=context.folder,
        report=context.report,
        cancelled=context.cancelled,
        judge=_judge(context, order, settings.evaluation),
        record=context.record,
    )
    sampling = {"solver": "lcm", "steps": list(FEW_STEPS), "guidance": [1.0, 2.0], "distilled_w": settings.w}
    made = _register(
        context, order, path, dataset, kind="acceleration", relations=("distilled_from",), sampling=sampling
    )
    return made | _measured(context, settings.evaluation)


def train_style_vector(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind style: train on the pictures, register the style vector."""
    from distill_jobs import StyleSettings, train_style

    order = Order.of(context.spec)
    settings = checked(StyleSettings, order.settings)
    dataset = _dataset(order, context.folder)
    path = train_style(
        _pipeline(context, order),
        dataset,
        settings,
        folder=context.folder,
        report=context.report,
        cancelled=context.cancelled,
    )
    return _register(context, order, path, dataset, kind="style", sampling={})


def distil_whole_base(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind lcd: distil the base into one that is told its guidance, and register that."""
    from distill_jobs import LcdSettings, distil_base

    order = Order.of(context.spec)
    settings = checked(LcdSettings, order.settings)
    dataset = _dataset(order, context.folder)
    path = distil_base(
        _pipeline(context, order),
        _base_folder(context, order),
        dataset,
        settings,
        folder=context.folder,
        report=context.report,
        cancelled=context.cancelled,
        judge=_judge(context, order, settings.evaluation),
        record=context.record,
    )
    sampling = _embedded_guidance(settings.w_min, settings.w_max)
    made = _register(context, order, path, dataset, kind="base", relations=OF_A_STUDENT, sampling=sampling)
    return made | _measured(context, settings.evaluation)


def tune_consistency(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind lcf: a style vector beside an acceleration vector, or all weights of a distilled base."""
    order = Order.of(context.spec)
    return _tune_base(context, order) if order.acceleration is None else _tune_vector(context, order)


def _tune_base(context: "JobContext", order: Order) -> dict[str, Any]:
    from distill_jobs import LcfSettings, tune_base

    settings = checked(LcfSettings, order.settings)
    dataset = _dataset(order, context.folder)
    path = tune_base(
        _pipeline(context, order),
        _base_folder(context, order),
        dataset,
        settings,
        folder=context.folder,
        report=context.report,
        cancelled=context.cancelled,
    )
    sampling = _embedded_guidance(settings.w_min, settings.w_max)
    return _register(context, order, path, dataset, kind="base", relations=("distilled_from",), sampling=sampling)


def _tune_vector(context: "JobContext", order: Order) -> dict[str, Any]:
    from distill_jobs import LcfLoraSettings, tune_vector
    from registry import Parent

    acceleration = open_acceleration(context.registry, str(order.acceleration), order.base)
    settings = checked(LcfLoraSettings, order.settings)
    dataset = _dataset(order, context.folder)
    path = tune_vector(
        _pipeline(context, order),
        acceleration,
        dataset,
        settings,
        folder=context.folder,
        report=context.report,
        cancelled=context.cancelled,
    )
    sampling = {"solver": "lcm", "steps": list(FEW_STEPS), "guidance": [1.0, 2.0]}
    beside = (Parent(str(order.acceleration), "distilled_from", 1.0),)
    return _register(context, order, path, dataset, kind="style", beside=beside, sampling=sampling)


def open_acceleration(registry: "Registry", reference: str, base: str) -> "Vector":
    """The acceleration vector that `reference` names, in the modules of `base`.

    Raises NotFound, NotAVector for a version of another kind, AlgebraError or FormatError for a vector of another base.
    """
    from arithmetic import open_vector
    from workbench.architectures import Architectures

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
    return {
        "solver": "lcm",
        "steps": list(FEW_STEPS),
        "guidance": [w_min + 1, w_max + 1],
        "distilled_w": [w_min, w_max],
    }


def form_of(kind: str, acceleration: str | None) -> str:
    """Which settings and results a job has: those of its kind, of lcf with an acceleration vector those of lcf-lora.

    Raises InvalidSettings for an acceleration vector that a kind has no use for.
    """
    if acceleration is None:
        return kind
    if kind != "lcf":
        raise InvalidSettings(f"acceleration: {kind} trains beside no other vector; leave it out")
    return "lcf-lora"


def settings_of(form: str, values: Mapping[str, Any]) -> "TrainingSettings":
    """The checked settings of a form of job. Raises InvalidSettings, which names each wrong one."""
    from distill_jobs import LcdLoraSettings, LcdSettings, LcfLoraSettings, LcfSettings, StyleSettings

    forms: dict[str, type[TrainingSettings]] = {
        "lcd-lora": LcdLoraSettings,
        "lcd": LcdSettings,
        "lcf": LcfSettings,
        "lcf-lora": LcfLoraSettings,
        "style": StyleSettings,
    }
    return checked(forms[form], values)


def checked(settings: "type[S]", values: Mapping[str, Any]) -> "S":
    """`values` as these settings. Raises InvalidSettings, which names each wrong one."""
    from pydantic import ValidationError

    try:
        return settings(**values)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors())
        raise InvalidSettings(wrong) from error


def _dataset(order: Order, folder: Path) -> "Dataset":
    """The data set of the order, unchanged; what is left out of it is named in the log and in a file of `folder`."""
    from distill_jobs.errors import CorruptPictures
    from workbench.datasets import CORRUPT_LIST, open_dataset, reading_of

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


def _pipeline(context: "JobContext", order: Order) -> Any:
    from sampling import load_pipeline

    return load_pipeline(_base_folder(context, order))


def _base_folder(context: "JobContext", order: Order) -> Path:
    return context.registry.folder(context.registry.get(order.base))


def _judge(context: "JobContext", order: Order, evaluation: "EvaluationSettings") -> "Judge | None":
    """The judge that the base carries, where something is evaluated."""
    from sampling import find_judge

    return find_judge(context.registry.folder(context.registry.get(order.base))) if evaluation.every else None


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
    order: Order,
    path: Path,
    dataset: "Dataset",
    *,
    kind: str,
    relations: Sequence[str] = (),
    beside: "Sequence[Parent]" = (),
    sampling: dict[str, Any],
) -> dict[str, Any]:
    """Register the result with edges to its base and data; refused when the lease on the job is lost.

    `relations` are those to the base beside a vector's adapter_of; `beside` are edges to others.
    """
    from registry import Parent
    from registry.names import slug_of

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
    made_from = [Parent(order.base, relation) for relation in relations]
    version = context.registry.add(
        path,
        kind=kind,
        name=order.name,
        base=None if kind == "base" else order.base,
        draft=order.draft,
        edges=[*made_from, *beside, Parent(known.ref, "trained_on")],
        sampling=sampling,
        recommended_strength=None if kind == "base" else 1.0,
        lease=context.lease,
    )
    measure_version(context.registry, version)
    left_out = {"left_out": len(dataset.left_out)} if dataset.left_out else {}
    return {"version": version.ref, **left_out}
