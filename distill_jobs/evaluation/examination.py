"""Measures a student at its checkpoints: the frozen base's share once a job, the student's at each of them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from distill_jobs.errors import Interrupted
from distill_jobs.evaluation import measures
from distill_jobs.evaluation.measures import Measured
from distill_jobs.evaluation.painting import estimates, paint_latents, solve
from distill_jobs.evaluation.plan import Plan, digest_of
from distill_jobs.evaluation.ruler import Ruler
from distill_jobs.evaluation.settings import HIGHER_IS_BETTER, LOWER_IS_BETTER, STUDENT, score_of
from distill_jobs.evaluation.table import PREFIX, Comparison, Examined, Number, Row, Table, means
from distill_jobs.progress import Cancelled
from distill_jobs.training.precision import showing
from distill_jobs.training.trainer import Trainer
from sampling import errors
from sampling.contenders import Contender

Record = Callable[[int, Mapping[str, float]], None]
"""Takes the numbers of one step; the same step again is the same numbers."""

Entrant = tuple[Contender, Measured]


def unrecorded(step: int, numbers: Mapping[str, float]) -> None:
    """A record that nobody keeps."""


class Examination:
    """An `Examine` of a training: paints with the weights that would be exported, and leaves the training as it was.

    Inside `frozen()` the pipeline paints as the teacher, or the one that `frozen()` gives; otherwise `pipe` paints as
    the student, at `guidance`.
    """

    def __init__(
        self,
        pipe: Any,
        trainer: Trainer,
        plan: Plan,
        *,
        folder: Path,
        frozen: Callable[[], AbstractContextManager[Any]],
        cancelled: Cancelled,
        record: Record = unrecorded,
        guidance: float = 1.0,
    ) -> None:
        self.pipe, self.trainer, self.plan, self.folder = pipe, trainer, plan, folder
        self.frozen, self.cancelled, self.record, self.guidance = frozen, cancelled, record, guidance
        self.table = Table(folder, digest_of(plan.digest, guidance, trainer.identity))
        self.exam = digest_of(self.table.exam, plan.settings.best_by)

    @property
    def keep_best(self) -> int:
        """How many of the best checkpoints are kept."""
        return self.plan.settings.keep_best

    @property
    def exports_best(self) -> bool:
        """Whether the best checkpoint is what the training exports, instead of the last."""
        return self.plan.settings.export == "best"

    def is_due(self, step: int) -> bool:
        """Whether the weights after `step` are to be measured."""
        return self.plan.settings.is_due(step, self.trainer.settings.steps)

    def __call__(self) -> float:
        """The score of the weights just saved, lower is better; found in the table or measured into it.

        Raises Interrupted when `cancelled` names a reason while pictures are painted.
        """
        step, best_by = self.trainer.step, self.plan.settings.best_by
        try:
            examined = self.table.find(step) or self._added(step)
        except errors.Cancelled as stop:
            raise Interrupted(self.cancelled() or str(stop), step) from stop
        numbers = means(examined)
        self.record(step, numbers)
        return score_of(best_by, numbers[f"{PREFIX}/{best_by}"])

    def _added(self, step: int) -> dict[str, Any]:
        with showing(self.pipe, self.trainer.settings):
            return self.table.add(self._examine(step), self.reference)

    def _examine(self, step: int) -> Examined:
        ruler, rivals = self.ruler, self.baselines
        with self.trainer.showing_exported():
            entrants = [(each, self._painted(self.pipe, each)) for each in self.plan.students(self.guidance)]
            own = ruler.consistency(estimates(self.pipe, self.plan.exam, ruler.solution, self.guidance))
        rows = [Row(name_of(each), each, ruler.numbers(measured)) for each, measured in entrants]
        consistency = Row(STUDENT, None, ruler.numbers(own))
        return Examined(step, (*rows, consistency), tuple(self._comparisons(entrants, rivals)))

    @cached_property
    def ruler(self) -> Ruler:
        """The teacher's solution, from this job's cache or computed into it."""
        settings, key = self.plan.settings, digest_of("teacher", self.plan.digest)
        with self._teacher_pipe() as pipe:
            solution = solve(
                pipe,
                self.plan.exam,
                self.plan.teacher,
                points=min(settings.points, settings.teacher_steps),
                path=self.folder / "cache" / f"teacher-{key[:32]}.safetensors",
                cancelled=self.cancelled,
            )
        return Ruler(self.pipe, self.plan, solution)

    @cached_property
    def teacher(self) -> Measured:
        """The teacher's own measures; its self-consistency is that of its guided x0, before any distillation."""
        return self._cached("teacher", self._of_the_teacher)

    @cached_property
    def baselines(self) -> list[Entrant]:
        """The classical solvers on the frozen base."""
        return [(each, self._cached(name_of(each), partial(self._frozen, each))) for each in self.plan.baselines()]

    def _of_the_teacher(self) -> Measured:
        ruler = self.ruler
        with self._teacher_pipe() as pipe:
            own = ruler.consistency(estimates(pipe, self.plan.exam, ruler.solution, self.plan.guidance))
        return {**ruler.measure(self.plan.teacher, ruler.solution.endpoints), **own}

    def _frozen(self, contender: Contender) -> Measured:
        with self._teacher_pipe() as pipe:
            return self._painted(pipe, contender)

    @contextmanager
    def _teacher_pipe(self) -> Iterator[Any]:
        with self.frozen() as other:
            if other is None:
                yield self.pipe
                return
            with showing(other, self.trainer.settings):
                yield other

    def _painted(self, pipe: Any, contender: Contender) -> Measured:
        latents = paint_latents(pipe, self.plan.exam, contender, self.cancelled)
        return self.ruler.measure(contender, latents)

    def _cached(self, name: str, compute: Callable[[], Measured]) -> Measured:
        """What was measured of the frozen base under `name`: from a file named by content, or computed into it."""
        path = self.folder / "cache" / f"measured-{digest_of(name, self.plan.digest)[:32]}.json"
        if not path.exists():
            found = {key: np.asarray(value).tolist() for key, value in compute().items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".partial")
            unfinished.write_text(json.dumps(found))
            unfinished.replace(path)
        found = json.loads(path.read_text())
        return {key: np.array(value) if isinstance(value, list) else value for key, value in found.items()}

    @cached_property
    def reference(self) -> tuple[Row, ...]:
        """The rows that no training changes: the teacher, the zero predictor and the baselines."""
        numbers = self.ruler.numbers
        return (
            Row("teacher", self.plan.teacher, numbers(self.teacher)),
            Row("zero", None, numbers(self.ruler.zero())),
            *(Row(name_of(each), each, numbers(measured)) for each, measured in self.baselines),
        )

    def _comparisons(self, entrants: Sequence[Entrant], rivals: Sequence[Entrant]) -> list[Comparison]:
        """Each student beside the best baseline of its cost, and its accuracy as a share of the teacher's."""
        found = []
        for contender, measured in entrants:
            same = [rival for rival in rivals if rival[0].evaluations == contender.steps]
            for measure in measured:
                if same and measure in LOWER_IS_BETTER | HIGHER_IS_BETTER and _is_shown(contender, measure):
                    found.append(self._beside_the_best(contender, measured, measure, same))
            if "judge_accuracy" in measured:
                share = measures.ratio(
                    measured["judge_accuracy"], self.teacher["judge_accuracy"], self.plan.settings.seed
                )
                if share is not None:
                    number = Number(*share)
                    found.append(Comparison("judge_accuracy", name_of(contender), "teacher", "ratio", number))
        return found

    def _beside_the_best(
        self, contender: Contender, measured: Measured, measure: str, rivals: Sequence[Entrant]
    ) -> Comparison:
        rival, best = min(rivals, key=lambda each: score_of(measure, float(np.mean(each[1][measure]))))
        mine, other = measured[measure], best[measure]
        number = (
            Number(mine - other)
            if isinstance(mine, float)
            else Number(*measures.difference(mine, other, self.plan.settings.seed))
        )
        return Comparison(measure, name_of(contender), name_of(rival), "difference", number)


def examination(pipe: Any, trainer: Trainer, plan: Plan | None, **how: Any) -> Examination | None:
    """The examination of `plan`; none without a plan."""
    return None if plan is None else Examination(pipe, trainer, plan, **how)


def name_of(contender: Contender) -> str:
    """A row's name: a student's solver and steps; a baseline's also with what it was chosen over."""
    name = f"{contender.solver}-{contender.steps}"
    return name if contender.role == "student" else f"{name}, guidance {contender.guidance:g}, {contender.spacing}"


def _is_shown(contender: Contender, measure: str) -> bool:
    """LCM is compared by what its pictures show, TCD (from 2 steps on) by the endpoint that LCM has not."""
    return contender.solver == "lcm" or measure == "endpoint_error"
