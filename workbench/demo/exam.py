"""The demo's pictures and its table: all contenders on the same prompts and noises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.demo.evaluation import EVALUATIONS, Contender, Examiner, Score, exam, teacher
from workbench.demo.report import Sheet
from workbench.recipes.architectures import Architectures

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry import Registry
    from workbench.demo.story import Narrator

TABLE_BASELINES = ("ddim", "dpm", "dpm++")
SHOWN_SEED = 7
"""Base of the noises of the pictures that are shown, which are not among those that are measured."""

Strengths = Callable[[str], tuple[float, float]]
"""Style -> lambda_1, lambda_2."""


@dataclass(frozen=True)
class Exhibition:
    """A prepared base, and how each style's pictures are painted on it."""

    examiner: Examiner
    styles: tuple[str, ...]
    acceleration: str
    strengths: Strengths
    w: float

    def together(self, style: str) -> dict[str, float]:
        """The composition's strengths."""
        first, second = self.strengths(style)
        return {style: first, self.acceleration: second}

    def lines(self, style: str) -> list[tuple[Contender, dict[str, float]]]:
        """Who is measured for `style`, with which strengths: the teacher first."""
        alone = {style: 1.0}
        compositions = [Contender("composition", "lcm", n, 1.0) for n in EVALUATIONS]
        return [
            (teacher(self.w), alone),
            *((contender, self.together(style)) for contender in compositions),
            (Contender("acceleration", "lcm", 4, 1.0), {self.acceleration: 1.0}),
            *((contender, alone) for contender in tuned_baselines()),
        ]


def tuned_baselines() -> list[Contender]:
    """The classical solvers at each cost, with the spacing and guidance that the reproduction found best."""
    from demo import tuning

    return [
        Contender("baseline", solver, n // (2 if best["guidance"] > 1 else 1), best["guidance"], best["spacing"])
        for n in EVALUATIONS
        for solver in TABLE_BASELINES
        for best in [tuning()["baselines"][solver][str(n)]]
    ]


def open_exhibition(
    registry: "Registry", *, base: str, styles: Sequence[str], acceleration: str, strengths: Strengths
) -> Exhibition:
    """Load the base with its judge, and attach the styles; the acceleration vector too once it is registered."""
    from demo import tuning
    from sampling import load_judge, load_pipeline

    version = registry.get(base)
    folder = registry.folder(version)
    examiner = Examiner(load_pipeline(folder), load_judge(folder), base=version.digest, folder=registry.home / "exams")
    exhibition = Exhibition(examiner, tuple(styles), acceleration, strengths, float(tuning()["distillation"]["w"]))
    for style in styles:
        attach(registry, exhibition, style, base)
    return exhibition


def attach(registry: "Registry", exhibition: Exhibition, name: str, base: str) -> None:
    """Attach the registered vector `name`, under that name."""
    from arithmetic import open_vector

    version = registry.get(name)
    table = Architectures(registry).of(registry.get(base))
    exhibition.examiner.attach(open_vector(registry.file(version), table, name=name), version.digest)


def paint_teacher(
    registry: "Registry", narrator: "Narrator", exhibition: Exhibition, prompts: Sequence[str], seed: int
) -> Sheet:
    """The styled teacher's pictures: many steps, full guidance. What the composition has to match."""
    narrator.chapter("Look: what each style paints with many steps (DDIM-50, 100 evaluations a picture)")
    rows = []
    for style in exhibition.styles:
        images = _paint(exhibition, teacher(exhibition.w), {style: 1.0}, prompts, seed)
        rows.append((f"{style}\nDDIM, 50 steps", images))
    path = _save(registry, "teacher.png", rows, prompts, "The styled teachers")
    narrator.picture(path, "the styled teachers")
    caption = f"Base plus one style LoRA, DDIM with 50 steps at guidance {exhibition.w + 1:g}."
    return Sheet("The styled teachers", caption, path)


def examine(narrator: "Narrator", exhibition: Exhibition, *, seed: int) -> tuple[Score, ...]:
    """Every row of the table: 144 pictures each, one noise a caption."""
    narrator.chapter("Measure: the composition beside the teacher and the classical solvers")
    scores: list[Score] = []
    plan = [(style, *line) for style in exhibition.styles for line in exhibition.lines(style)]
    for done, (style, contender, strengths) in enumerate(plan):
        narrator.count(done, len(plan), f"{style}: {contender.solver}, {contender.evaluations} evaluations")
        painted = style if style in strengths else "flat"
        questions = exam(painted, noises=1, seed=seed)
        scores.append(exhibition.examiner.examine(contender, questions, style=painted, seed=seed, strengths=strengths))
    narrator.count(len(plan), len(plan), "")
    unique = tuple({(score.style, score.recipe, score.contender): score for score in scores}.values())
    narrator.table(unique)
    return unique


def paint_comparison(
    registry: "Registry", narrator: "Narrator", exhibition: Exhibition, prompts: Sequence[str], seed: int
) -> Sheet:
    """One contact sheet: for each style the teacher, the composition at 1, 2, 4 and 8 steps, and DPM-Solver++ at 4."""
    rows = []
    rival = next(c for c in tuned_baselines() if c.solver == "dpm++" and c.evaluations == 4)
    for style in exhibition.styles:
        together = exhibition.together(style)
        shown = [("teacher", teacher(exhibition.w), {style: 1.0})]
        shown += [("composition", Contender("composition", "lcm", n, 1.0), together) for n in EVALUATIONS]
        shown += [("DPM-Solver++", rival, {style: 1.0})]
        for who, contender, strengths in shown:
            images = _paint(exhibition, contender, strengths, prompts, seed)
            rows.append((f"{style}: {who}\n{contender.evaluations} evaluations", images))
    path = _save(registry, "comparison.png", rows, prompts, "Same prompts, same noises")
    narrator.picture(path, "the same prompts and noises, painted by each")
    caption = "Each column is one prompt and one noise. The composition needs no guidance: one evaluation a step."
    return Sheet("Same prompts, same noises", caption, path)


def _paint(
    exhibition: Exhibition, contender: Contender, strengths: dict[str, float], prompts: Sequence[str], seed: int
) -> "list[Image]":
    from sampling import paint, set_strengths

    set_strengths(exhibition.examiner.pipe, strengths)
    first = SHOWN_SEED + 100 * seed
    return paint(
        exhibition.examiner.pipe,
        prompts,
        solver=contender.solver,
        steps=contender.steps,
        guidance=contender.guidance,
        spacing=contender.spacing,
        seeds=range(first, first + len(prompts)),
    ).images


def _save(
    registry: "Registry", name: str, rows: "list[tuple[str, list[Image]]]", prompts: Sequence[str], title: str
) -> Path:
    from sampling import contact_sheet

    path = registry.home / "pictures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [prompt.removeprefix("a ").replace(" on a ", "\non ").removesuffix(" background") for prompt in prompts]
    contact_sheet(rows, columns, title).save(path)
    return path
