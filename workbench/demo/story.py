"""The guided main job on the shipped shapes world: import, distil, compose, prove, paint, measure, report.

Everything goes through the same use cases as a team's own work. A second run finds by content what the first one made.
"""

import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workbench.demo.exam import attach, examine, open_exhibition, paint_comparison, paint_teacher
from workbench.demo.report import ComposedFile, Sheet, write_report
from workbench.opening import demo_home

if TYPE_CHECKING:
    from formats import Identification
    from registry import Registry, Version
    from registry.jobs import Job
    from workbench.demo.evaluation import Score
    from workbench.sums.checking import ToolOutcome
    from workbench.sums.composing import Composition

BASE = "shapes"
ACCELERATION = "lcm-shapes"
STYLES = ("stripes", "glow")
"""The two styles that the demo composes; the third is imported for the reader to try."""
NO_ERROR = 1e-6
"""Relative error of a merge below which it is called right."""
MARK = ".tau-demo"
"""In a folder that the demo began, and so may remove."""
PICTURES = 2000
"""Size of the data set that the demo distils on."""
STRIP_PROMPTS = (
    "a large red circle on a white background",
    "a large blue square on a gray background",
    "a small yellow triangle on a black background",
    "a large green cross on a white background",
    "a small purple circle on a gray background",
    "a large cyan triangle on a black background",
)

CarryOut = Callable[["Registry", "Job", Callable[["Job"], None]], None]
"""Sees to it that a queued job is done: carry_out(registry, job, follow), where follow is told how it goes."""


class Narrator(Protocol):
    """Who tells the person what happens: a terminal, or nobody."""

    def chapter(self, title: str) -> None:
        """A new part begins."""

    def say(self, text: str) -> None:
        """One line."""

    def identified(self, name: str, found: "Identification") -> None:
        """What a file is, and on what evidence."""

    def picture(self, path: Path, title: str) -> None:
        """A picture was painted, or painted again."""

    def count(self, done: int, total: int, note: str) -> None:
        """Progress of the part at hand."""

    def table(self, scores: "Sequence[Score]") -> None:
        """The measured rows."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made; `commands` work pasted as they are."""

    home: Path
    table: "tuple[Score, ...]"
    certificate: Mapping[str, Any]
    versions: tuple[str, ...]
    report: Path
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `tau demo --json`."""
        return {
            "table": [score.to_json() for score in self.table],
            "certificate": dict(self.certificate),
            "versions": list(self.versions),
            "report": str(self.report),
            "home": str(self.home),
            "commands": list(self.commands),
        }


def demo(
    narrator: Narrator,
    *,
    home: Path | None = None,
    fresh: bool = False,
    seed: int = 0,
    command: str = "tau",
) -> DemoResult:
    """Run the main job in `home` (default: the folder demo/ of the user's data folder); `fresh` empties it first.

    `seed` seeds the data set, the distillation and the noises; `command` is how the reader calls tau.
    Interrupted, it leaves finished parts in place and goes on from them the next time.
    """
    from registry import Registry

    home = home or demo_home()
    if fresh:
        empty(home)
    _mark(home)
    with Registry.open(home) as registry:
        return tell(registry, narrator, seed=seed, command=command)


def tell(
    registry: "Registry",
    narrator: Narrator,
    *,
    seed: int = 0,
    command: str = "tau",
    carry_out: "CarryOut | None" = None,
) -> DemoResult:
    """Run the main job in a registry; `carry_out` is who runs the distillation, a worker in this process where None."""
    narrator.say(f"registry: {registry.home}")
    import_world(registry, narrator)
    exhibition = open_exhibition(registry, base=BASE, styles=STYLES, acceleration=ACCELERATION, strengths=strengths)
    teachers = paint_teacher(registry, narrator, exhibition, STRIP_PROMPTS, seed)
    acceleration = distil(registry, narrator, seed=seed, carry_out=carry_out)
    compositions = [compose_style(registry, narrator, style) for style in STYLES]
    attach(registry, exhibition, ACCELERATION, BASE)
    scores = examine(narrator, exhibition, seed=seed)
    comparison = paint_comparison(registry, narrator, exhibition, STRIP_PROMPTS, seed)
    fill_catalog(registry, [acceleration, *(made.version for made in compositions)])
    commands = next_commands(registry.home, command)
    report = _report(registry, (comparison, teachers), scores, compositions, commands, seed)
    narrator.chapter("Done")
    narrator.say(f"report: {report}")
    return DemoResult(
        home=registry.home,
        table=scores,
        certificate=max((json.loads(made.certificate.to_json()) for made in compositions), key=_worst_error),
        versions=tuple(version.ref for version in registry.search()),
        report=report,
        commands=commands,
    )


def empty(home: Path) -> None:
    """Remove a demo's registry. Raises NotADemo for a folder that the demo did not begin."""
    from workbench.errors import NotADemo

    if not home.exists():
        return
    if any(home.iterdir()) and not (home / MARK).exists():
        raise NotADemo(f"{home}: was not made by the demo, so --fresh does not empty it; name another folder")
    shutil.rmtree(home)


def _mark(home: Path) -> None:
    """Mark a folder that was empty as the demo's own."""
    home.mkdir(parents=True, exist_ok=True)
    if not any(home.iterdir()):
        (home / MARK).write_text("`tau demo --fresh` removes this folder.\n")


def strengths(style: str) -> tuple[float, float]:
    """lambda_1 of the style and lambda_2 of the acceleration that the reproduction found best."""
    from demo import tuning

    first, second = tuning()["strengths"][style]
    return first, second


def import_world(registry: "Registry", narrator: Narrator) -> None:
    """Import the base and the three style files, as a team would take in somebody else's."""
    from demo import base_folder, style_files
    from workbench.intake.importing import identify_file, import_file

    narrator.chapter("Import: a base, and three style LoRAs in three layouts")
    import_file(registry, base_folder(), name=BASE, title="Shapes", license="Apache-2.0")
    narrator.identified(BASE, identify_file(base_folder(), registry))
    for style, path in style_files().items():
        title = f"Shapes in {style}"
        import_file(registry, path, name=style, title=title, kind="style", license="Apache-2.0", base=BASE)
        narrator.identified(path.name, identify_file(path, registry))


def distil(registry: "Registry", narrator: Narrator, *, seed: int, carry_out: "CarryOut | None" = None) -> "Version":
    """The acceleration vector: from a finished job with the same order, or distilled now by a local worker."""
    from demo import tuning, write_dataset
    from workbench.jobs.queueing import submit_distillation, wait

    narrator.chapter("Distil: an acceleration LoRA out of the base (lcd-lora)")
    data = registry.home / "datasets" / f"shapes-flat-{seed}"
    if not (data / "metadata.jsonl").exists():
        write_dataset(data, "flat", count=PICTURES, seed=seed)
    settings = {**tuning()["distillation"], **tuning()["demo"], "seed": seed, "sample_prompts": STRIP_PROMPTS}
    order = {"base": BASE, "data": data, "name": ACCELERATION, **settings}
    finished = finished_job(registry, order)
    if finished is None:
        job = submit_distillation(registry, **order)
        narrator.say(f"job {job.id}: lcd-lora, {settings['steps']} steps; log: {registry.home / 'jobs'}")
        (carry_out or work_off)(registry, job, _follower(narrator))
        finished = wait(registry, job).result["version"]
    version = registry.get(finished)
    narrator.say(f"{version.ref}: {version.digest[:12]}, trained on {PICTURES} pictures, w = {settings['w']:g}")
    return version


def work_off(registry: "Registry", job: "Job", follow: "Callable[[Job], None]") -> None:
    """Run the queue in this process until no job is left, the demo's among them."""
    from workbench.jobs.workers import run_worker

    run_worker(registry, until_idle=True, on_job=follow)


def finished_job(registry: "Registry", order: Mapping[str, Any]) -> str | None:
    """The version that an earlier job made of the same order, or None."""
    from registry import NotFound
    from workbench.jobs.queueing import distillation_spec, queue_of

    spec = distillation_spec(registry, **order)
    for job in queue_of(registry).list(state="succeeded"):
        if job.kind == "lcd-lora" and dict(job.spec) == spec and job.result:
            try:
                return registry.get(job.result["version"]).ref
            except NotFound:
                continue
    return None


def compose_style(registry: "Registry", narrator: Narrator, style: str) -> "Composition":
    """style + acceleration as one certified file, with what other tools' merges would have made of it."""
    from workbench.sums.composing import compose

    first, second = strengths(style)
    text = f"{first:g}*{style} + {second:g}*{ACCELERATION}"
    narrator.chapter(f"Compose: {text}")
    made = compose(registry, text, name=f"{style}-fast", base=BASE)
    for finding in made.report.verdict.findings:
        narrator.say(f"verdict, {finding.severity}: {finding.sentence}")
    if not made.report.verdict.findings:
        narrator.say("verdict: nothing to object")
    proof = made.certificate
    narrator.say(
        f"certificate: worst relative error {proof.worst_relative_error:.1e} over {len(proof.modules)} modules, "
        f"bound {proof.bound:g} ({proof.method})"
    )
    for dialect in _dialects(made):
        narrator.say(f"{dialect['name']}: {dialect['sentence']}")
    return made


def _dialects(made: "Composition") -> list[dict[str, str]]:
    """What each tool's merge would have made of the same files, in a sentence."""
    return [{"name": tool.title, "sentence": _sentence(tool)} for tool in made.report.tools]


def _sentence(tool: "ToolOutcome") -> str:
    if tool.relative_error is None:
        return str(tool.refusal)
    if tool.relative_error < NO_ERROR:
        return "right for these files"
    return f"would be off by {tool.relative_error:.0%} of the true sum's norm"


def fill_catalog(registry: "Registry", made: "Sequence[Version]") -> None:
    """Give every model of the demo a picture in the catalog."""
    from demo import style_files, tuning
    from workbench.painting.previewing import preview

    guidance = tuning()["distillation"]["w"] + 1
    for version in made:
        if not registry.previews(version.ref):
            preview(registry, version.ref, STRIP_PROMPTS[:2], base=BASE, solver="lcm", steps=4)
    for name in (BASE, *style_files()):
        if not registry.previews(name):
            preview(registry, name, STRIP_PROMPTS[:2], base=BASE, solver="ddim", steps=50, guidance=guidance)


def next_commands(home: Path, command: str) -> tuple[str, ...]:
    """Three commands to go on with; each works pasted as it is."""
    tau = f"{command} --home {shlex.quote(str(home))}"
    return (
        f"{tau} ui",
        f'{tau} preview "{BASE} + 0.9*glow + {ACCELERATION}" -p "a small cyan cross on a black background"',
        f"{tau} lineage {STYLES[0]}-fast",
    )


def _follower(narrator: Narrator) -> "Callable[[Job], None]":
    """Tells the narrator how a job goes, and shows its strip whenever that was repainted."""
    seen: dict[str, float] = {}

    def follow(job: "Job") -> None:
        progress = job.progress
        if "steps" not in progress:
            return
        eta = f"loss {progress['loss']:.4f}, {progress['eta_seconds']:.0f} s to go"
        narrator.count(progress["step"], progress["steps"], eta)
        strip = Path(progress.get("strip") or "")
        if strip.is_file() and seen.get("strip") != strip.stat().st_mtime:
            seen["strip"] = strip.stat().st_mtime
            narrator.picture(strip, f"four steps, fixed noise, after {progress['step']} of {progress['steps']} steps")

    return follow


def _worst_error(certificate: Mapping[str, Any]) -> float:
    return float(certificate["worst_relative_error"])


def _report(
    registry: "Registry",
    sheets: Sequence[Sheet],
    scores: "Sequence[Score]",
    compositions: "Sequence[Composition]",
    commands: Sequence[str],
    seed: int,
) -> Path:
    composed = [
        ComposedFile(
            version=made.version.ref,
            recipe=made.certificate.recipe,
            locked=made.certificate.locked,
            worst_relative_error=made.certificate.worst_relative_error,
            modules=len(made.certificate.modules),
            method=made.certificate.method,
            dialects=_dialects(made),
        )
        for made in compositions
    ]
    return write_report(
        registry.home / "report.html",
        title="Four steps in somebody else's style",
        summary=summary(scores),
        seed=seed,
        pictures=len(scores[0].right),
        sheets=sheets,
        rows=[score.to_json() for score in scores],
        compositions=composed,
        lineage=registry.lineage(compositions[0].version.ref),
        commands=commands,
    )


def summary(scores: "Sequence[Score]") -> str:
    """One sentence a style: joint accuracy of the 4-step composition beside its teacher and the best baseline at 4."""
    sentences = []
    for style in dict.fromkeys(score.style for score in scores if score.contender.role == "composition"):
        mine = [score for score in scores if score.style == style]
        best = {
            role: max(s.joint_accuracy for s in mine if s.contender.role == role and s.contender.evaluations == cost)
            for role, cost in (("teacher", 100), ("composition", 4), ("baseline", 4))
        }
        sentences.append(
            f"In {style}, four evaluations of the composition get {best['composition']:.0%} of the pictures wholly "
            f"right; the teacher's hundred get {best['teacher']:.0%}, "
            f"the best classical solver's four {best['baseline']:.0%}."
        )
    return " ".join(sentences)
