"""Commands on recipes: check, compose, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.documents import plain, version_document
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Base, Draft, Json, Name, Quiet, Recipe
from ui.cli.progress import counting
from ui.cli.recipe_command import RecipeCommand
from ui.cli.session import registry_of
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from workbench.checking import CheckReport
    from workbench.composing import Composition

Format = Annotated[str, typer.Option("--format", help="kohya, diffusers or peft (a folder).")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="fp32, fp16 or bf16; the same as '| dtype(...)'.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(cls=RecipeCommand)(check)
    app.command(cls=RecipeCommand)(compose)
    app.command()(verify)


def check(
    context: typer.Context,
    recipe: Recipe,
    base: Base = None,
    format: Format = "kohya",
    dtype: Dtype = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The verdict before any work, and what other tools' linear merges would have made of the same files."""
    from workbench.checking import check

    with registry_of(context) as registry:
        report = check(registry, recipe, base=base, layout=format, dtype=dtype)
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
    format: Format = "kohya",
    dtype: Dtype = None,
    base: Base = None,
    draft: Draft = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the exact weighted sum of vectors as one vector, and prove it.

    With -o alone the file (and its certificate) is written; with --name, or without -o, it becomes a version.
    """
    from workbench.composing import compose

    with registry_of(context) as registry, counting("composing", "modules") as count:
        composition = compose(
            registry,
            recipe,
            out=out,
            name=name,
            layout=format,
            dtype=dtype,
            base=base,
            draft=draft,
            progress=lambda phase, done, total: count(done, total, phase),
            cancelled=asked_to_stop,
        )
    _print_composition(composition, json=json, quiet=quiet)


def verify(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A composed file, or a version of the registry.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove a composition again, against the inputs that its recipe names."""
    from workbench.composing import verify

    with registry_of(context) as registry:
        certificate = verify(registry, target)
    if json:
        output.document("certificate", {"certificate": plain(certificate)})
    elif quiet:
        output.lines([certificate.file_sha256])
    else:
        output.fields(_certificate_fields(certificate))
        output.hint("verified: the file is the sum that its recipe says")


def report_document(report: "CheckReport") -> dict[str, Any]:
    """A check's JSON."""
    return {
        "ok": report.verdict.ok,
        "recipe": report.recipe,
        "locked": report.locked,
        "base": report.base,
        "findings": plain(report.verdict.findings),
        "dialects": {
            outcome.dialect.name: {
                "title": outcome.dialect.title,
                "relative_error": outcome.error,
                "refusal": outcome.refusal,
            }
            for outcome in report.dialects
        },
    }


def _print_report(report: "CheckReport") -> None:
    output.fields({"recipe": report.recipe, "base": report.base, "verdict": "ok" if report.verdict.ok else "refused"})
    if report.verdict.findings:
        output.rows(
            ("severity", "finding", "what", "remedy"),
            [(f.severity, f.code, f.sentence, f.remedy) for f in report.verdict.findings],
        )
    if report.dialects:
        output.rows(
            ("another tool's merge", "relative error"),
            [(o.dialect.title, o.refusal if o.error is None else f"{o.error:.3g}") for o in report.dialects],
        )


def _print_composition(composition: "Composition", *, json: bool, quiet: bool) -> None:
    version = composition.version
    if json:
        output.document(
            "composition",
            {
                "version": version_document(version) if version else None,
                "path": str(composition.path),
                "certificate": plain(composition.certificate),
                "report": report_document(composition.report),
            },
        )
    elif quiet:
        output.lines([version.ref if version else composition.path])
    else:
        named = {"version": version.ref if version else None, "file": composition.path}
        output.fields(named | {"recipe": composition.report.recipe} | _certificate_fields(composition.certificate))
        for finding in composition.report.verdict.findings:
            output.hint(f"{finding.severity}: {finding.sentence} {finding.remedy}".rstrip())


def _certificate_fields(certificate: Any) -> dict[str, object]:
    return {
        "worst relative error": f"{certificate.worst_relative_error:.2g}",
        "modules": len(certificate.modules),
        "method": certificate.method,
        "sha256": certificate.file_sha256,
    }
