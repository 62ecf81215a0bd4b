"""Commands on recipes: check, compose, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.documents import plain, version_document
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Base, Device, Draft, Json, Layout, Memory, Name, Quiet, Recipe, Workers
from ui.cli.progress import counting
from ui.cli.recipe_command import RecipeCommand
from ui.cli.session import registry_if_any, registry_of
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from arithmetic import BakeCertificate, Certificate
    from workbench.sums.checking import CheckReport, ToolOutcome
    from workbench.sums.composing import Composition

Rank = Annotated[int | None, typer.Option("--rank", help="The largest rank of a module: the same as '| rank(64)'.")]
Energy = Annotated[
    float | None, typer.Option("--energy", help="The share of each module's squared norm to keep: '| energy(0.99)'.")
]
Error = Annotated[
    float | None, typer.Option("--error", help="The largest relative error of a module: '| error(0.01)'.")
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="fp32, fp16 or bf16; the same as '| dtype(...)'.")]
Tool = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="Sum as another tool does, mistakes included: peft-linear, peft-svd-pre3111, kohya-merge, kohya-concat, "
        "supermerger or supermerger-svd; the same as 'kohya-merge(0.8*a, b)'.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(cls=RecipeCommand)(check)
    app.command(cls=RecipeCommand)(compose)
    app.command()(verify)


def check(
    context: typer.Context,
    recipe: Recipe,
    base: Base = None,
    format: Layout = "kohya",
    rank: Rank = None,
    energy: Energy = None,
    error: Error = None,
    dtype: Dtype = None,
    tool: Tool = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The verdict before any work, and what other tools would have made of the same files.

    A recipe of paths needs no registry and no base: tau check "./a.safetensors + ./b.safetensors".
    """
    from workbench.recipes.resolving import stages_of
    from workbench.sums.checking import check

    stages = stages_of(rank=rank, energy=energy, error=error, dtype=dtype)
    with registry_if_any(context) as registry:
        report = check(registry, recipe, base=base, layout=format, stages=stages, tool=tool)
    if json:
        output.document("check", report_document(report))
    elif quiet:
        output.lines(finding.code for finding in report.verdict.findings)
    else:
        _print_report(report)
    if not report.verdict.ok:
        raise typer.Exit(Outcome.REFUSED)


def compose(
    context: typer.Context,
    recipe: Recipe,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the file here.")] = None,
    name: Name = None,
    format: Layout = "kohya",
    rank: Rank = None,
    energy: Energy = None,
    error: Error = None,
    dtype: Dtype = None,
    tool: Tool = None,
    base: Base = None,
    draft: Draft = False,
    device: Device = "cpu",
    workers: Workers = None,
    memory: Memory = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the exact weighted sum of vectors as one vector, and prove it.

    With -o alone the file (and its certificate) is written; with --name, or without -o, it becomes a version.
    """
    from workbench.recipes.resolving import stages_of
    from workbench.sums.composing import compose
    from workbench.sums.resources import resources

    opened = registry_if_any(context) if out is not None and name is None else registry_of(context)
    with opened as registry, counting("composing", "modules") as count:
        composition = compose(
            registry,
            recipe,
            out=out,
            name=name,
            layout=format,
            stages=stages_of(rank=rank, energy=energy, error=error, dtype=dtype),
            tool=tool,
            base=base,
            draft=draft,
            progress=lambda phase, done, total: count(done, total, phase),
            cancelled=asked_to_stop,
            resources=resources(device, workers, memory),
        )
    _print_composition(composition, json=json, quiet=quiet)


def verify(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A composed or baked file, or a version of the registry.")],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="What the file claims to be, where it does not say so: of another tool's file."),
    ] = None,
    base: Base = None,
    device: Device = "cpu",
    workers: Workers = None,
    memory: Memory = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove a result again, against the inputs that its recipe names; or any tool's file against a recipe."""
    from workbench.sums.resources import resources
    from workbench.sums.verifying import verify

    with registry_if_any(context) as registry, counting("verifying", "modules") as count:
        certificate = verify(
            registry,
            target,
            recipe=recipe,
            base=base,
            progress=count,
            cancelled=asked_to_stop,
            resources=resources(device, workers, memory),
        )
    if json:
        output.document("certificate", {"certificate": plain(certificate)})
    elif quiet:
        output.lines(_digests(certificate))
    else:
        output.fields(_certificate_fields(certificate))
        output.hint("verified: it is the sum that its recipe says")
        if left_out := getattr(certificate, "left_out", ()):
            output.hint(f"not covered by the proof: {', '.join(left_out)}")


def report_document(report: "CheckReport", *, compared: bool = True) -> dict[str, Any]:
    """A check's JSON, with what other tools make of the same sum unless they are not to be `compared`."""
    return {
        "ok": report.verdict.ok,
        "recipe": report.recipe,
        "locked": report.locked,
        "base": report.base,
        "findings": plain(report.verdict.findings),
        "dialects": {tool.name: plain(tool) for tool in report.tools} if compared else {},
        "not_compared": report.not_compared,
    }


def _print_report(report: "CheckReport") -> None:
    output.fields({"recipe": report.recipe, "base": report.base, "verdict": "ok" if report.verdict.ok else "refused"})
    if report.verdict.findings:
        output.rows(
            ("severity", "finding", "what", "remedy"),
            [(f.severity, f.code, f.sentence, f.remedy) for f in report.verdict.findings],
        )
    if report.tools:
        output.rows(
            ("another tool's merge", "relative error", "its file is", "and beyond that"),
            [(tool.title, *_tool_row(tool)) for tool in report.tools],
        )
    elif report.verdict.ok and report.not_compared:
        output.hint(f"other tools were not compared: {report.not_compared}")


def _tool_row(tool: "ToolOutcome") -> tuple[str, str, str]:
    """The error, the true recipe of the tool's file, and how much of the file no recipe says."""
    if tool.relative_error is None:
        return tool.refusal or "", "", ""
    same_as = tool.same_as or ""
    cross = f"{tool.cross_terms:.0%} cross terms" if tool.cross_terms else ""
    return f"{tool.relative_error:.3g}", same_as if len(same_as) <= 80 else f"{same_as[:77]}...", cross


def _print_composition(composition: "Composition", *, json: bool, quiet: bool) -> None:
    version = composition.version
    if json:
        output.document(
            "composition",
            {
                "version": version_document(version) if version else None,
                "path": str(composition.path),
                "certificate": plain(composition.certificate),
                "report": report_document(composition.report, compared=False),
            },
        )
    elif quiet:
        output.lines([version.ref if version else composition.path])
    else:
        named = {"version": version.ref if version else None, "file": composition.path}
        output.fields(named | {"recipe": composition.report.recipe} | _certificate_fields(composition.certificate))
        for finding in composition.report.verdict.findings:
            output.hint(f"{finding.severity}: {finding.sentence} {finding.remedy}".rstrip())


def _certificate_fields(certificate: "Certificate | BakeCertificate") -> dict[str, object]:
    """A vector's approximation error is against the unreduced sum; there is none where nothing was left out."""
    from arithmetic import BakeCertificate

    common = {"worst relative error": f"{certificate.worst_relative_error:.2g}", "method": certificate.method}
    if isinstance(certificate, BakeCertificate):
        modules = f"{len(certificate.modules)} proved, {certificate.untouched} tensors untouched"
        return common | {"modules": modules, "inputs": ", ".join(one["name"] for one in certificate.inputs)}
    worst = f"{certificate.worst_approximation_error:.3g}" if certificate.approximations else None
    return common | {
        "worst approximation error": worst,
        "modules": len(certificate.modules),
        "sha256": certificate.file_sha256,
    }


def _digests(certificate: "Certificate | BakeCertificate") -> list[str]:
    from arithmetic import BakeCertificate

    return list(certificate.files.values()) if isinstance(certificate, BakeCertificate) else [certificate.file_sha256]
