"""Commands that bring things in, and what others say about them: import, lookup, unlink."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.catalog import pairs, print_version
from ui.cli.documents import plain, version_document
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Draft, DryRun, Json, Kind, Name, Quiet, Reference, References, Tags
from ui.cli.progress import following
from ui.cli.selection import expanded
from ui.cli.session import registry_of
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from registry import Version
    from registry.lookups import Lookup
    from workbench.intake.hash_lookups import Unasked
    from workbench.intake.report import ImportReport

Source = Annotated[
    str,
    typer.Argument(
        help="A safetensors file, the folder of a model, a folder of many, an InvokeAI installation, "
        "hf://OWNER/REPO (with @REVISION and /FILE if wanted) or https://..."
    ),
]
Title = Annotated[str | None, typer.Option("--title", help="A title for people.")]
License = Annotated[str | None, typer.Option("--license", help="Such as openrail++.")]
BelongsTo = Annotated[str | None, typer.Option("--base", help="The base that the vector belongs to.")]
Note = Annotated[str | None, typer.Option("--note", help="A note on this version.")]
Triggers = Annotated[list[str] | None, typer.Option("--trigger", help="A trigger word; may be repeated.")]
Strength = Annotated[float | None, typer.Option("--strength", help="The recommended lambda.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Catalog the files where they are; copy nothing.")]
Update = Annotated[bool, typer.Option("--update", help="Accept that an address brings other bytes than the last time.")]
Sha256 = Annotated[str | None, typer.Option("--sha256", help="What a fetched file must have.")]
Service = Annotated[str | None, typer.Option("--service", help="Only what this service said, such as civitai.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("import")(import_)
    app.command()(lookup)
    app.command()(unlink)


def import_(
    context: typer.Context,
    source: Source,
    kind: Kind = None,
    name: Name = None,
    title: Title = None,
    license: License = None,
    base: BelongsTo = None,
    note: Note = None,
    tag: Tags = None,
    trigger: Triggers = None,
    strength: Strength = None,
    in_place: InPlace = False,
    update: Update = False,
    sha256: Sha256 = None,
    draft: Draft = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take something into the registry: identified, hashed, copied; importing it again changes nothing.

    In a folder of many, what was imported before and did not change is not read again, and what cannot be imported is
    named. What other tools left beside a file (.civitai.info, .metadata.json, A1111's .json, previews) comes with it.
    """
    from workbench.intake.sources import take_in

    with registry_of(context) as registry, following("importing") as tell:
        report = take_in(
            registry,
            source,
            update=update,
            sha256=sha256,
            dry_run=dry_run,
            tell=tell,
            cancelled=asked_to_stop,
            kind=kind,
            name=name,
            title=title,
            license=license,
            base=base,
            note=note,
            tags=pairs(tag),
            trigger_words=tuple(trigger or ()),
            recommended_strength=strength,
            in_place=in_place,
            draft=draft,
        )
        if report.identified:
            output.hint(f"identified: {len(report.identified)} that came before what they belong to")
        if report.is_of_one:
            _print_version(report, registry.get(report.imported[0].version), json=json, quiet=quiet)
        else:
            _print_report(report, json=json, quiet=quiet, dry_run=dry_run)
    if report.is_cancelled:
        raise typer.Exit(Outcome.INTERRUPTED)


def lookup(
    context: typer.Context,
    references: References,
    known: Annotated[bool, typer.Option("--known", help="Ask nobody; show what was said before.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask the service of TAU_LOOKUP_URL what it knows of versions, by hash. Off unless that is set.

    What it says fills in blanks and replaces nothing; a failure changes nothing. What cannot be asked about is named,
    and the others are asked about all the same; the exit code is 1 then.
    """
    from workbench.intake.hash_lookups import Unasked, look_up_all, lookups_of

    with registry_of(context) as registry:
        if known:
            found = [registry.get(reference).ref for reference in expanded(references)]
            _print_lookups([one for ref in found for one in lookups_of(registry, ref)], json=json, quiet=quiet)
            return
        outcomes = list(look_up_all(registry, expanded(references)))
    answers = [one for one in outcomes if not isinstance(one, Unasked)]
    refused = [one for one in outcomes if isinstance(one, Unasked)]
    _print_lookups(answers, refused, json=json, quiet=quiet)
    if refused or any(answer.status == "failed" for answer in answers):
        raise typer.Exit(Outcome.FAILURE)


def unlink(
    context: typer.Context,
    reference: Reference,
    service: Service = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Declare what a service said of a version wrong: what it filled in is taken back, and it is not linked again."""
    from workbench.intake.hash_lookups import lookups_of
    from workbench.intake.hash_lookups import unlink as unlink_version

    with registry_of(context) as registry:
        if dry_run:
            said = lookups_of(registry, reference)
            answers = [one for one in said if one.is_linked and service in (None, one.service)]
            output.hint(f"dry run: {len(answers)} answers would be unlinked")
        else:
            answers = unlink_version(registry, reference, service)
    _print_lookups(answers, json=json, quiet=quiet)


def _print_version(report: "ImportReport", version: "Version", *, json: bool, quiet: bool) -> None:
    """The only version of an import, and what of its folder was left."""
    _hint_left(report)
    if json:
        output.document("version", {**version_document(version), "left": _left(report)})
    else:
        print_version(version, json=False, quiet=quiet)


def _print_report(report: "ImportReport", *, json: bool, quiet: bool, dry_run: bool) -> None:
    if json:
        output.document("import", {"imported": plain(report.imported), **_rest(report)})
        return
    if quiet:
        output.lines(one.version or one.path for one in report.imported)
        return
    output.rows(
        ("version", "", "path"),
        [(one.version, "" if dry_run else "new" if one.is_new else "known", one.path) for one in report.imported],
    )
    _hint_left(report)
    done = "to import" if dry_run else "imported"
    output.hint(f"{len(report.imported)} {done}, {report.unchanged} unchanged, {len(report.left)} left")


def _rest(report: "ImportReport") -> dict[str, object]:
    done = {"unchanged": report.unchanged, "identified": list(report.identified)}
    return {**done, "left": _left(report), "cancelled": report.is_cancelled}


def _left(report: "ImportReport") -> list[dict[str, str]]:
    return [{"path": str(one.path), "reason": one.reason} for one in report.left]


def _hint_left(report: "ImportReport") -> None:
    for one in report.left:
        output.hint(f"left: {one.path}: {one.reason}")


def _print_lookups(answers: "list[Lookup]", refused: "Sequence[Unasked]" = (), *, json: bool, quiet: bool) -> None:
    for one in refused:
        output.problem(f"{one.reference}: not asked about: {one.reason}")
    if json:
        output.document("lookups", {"lookups": plain(answers), "refused": plain(refused)})
    elif quiet:
        output.lines(answer.status for answer in answers)
    else:
        output.rows(
            ("version", "service", "status", "filled in", "address"),
            [(one.version, one.service, one.verdict, ", ".join(one.filled), one.uri) for one in answers],
        )
