"""Commands that keep the catalog's bytes: gc, relink, rm, restore, doctor."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.catalog import print_version, print_versions
from ui.cli.documents import plain, versions_document
from ui.cli.options import DryRun, Json, Quiet, References
from ui.cli.progress import counting
from ui.cli.selection import SomeReferences, Where, Yes, expanded, selected
from ui.cli.session import registry_of
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from registry.storage.garbage import Swept
    from workbench.keeping import Diagnosis

SECONDS_AN_HOUR = 3600.0


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (rm, restore, relink, gc, doctor):
        app.command()(command)


def rm(
    context: typer.Context,
    references: SomeReferences = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove versions: hidden from now on, numbers never given again, their bytes kept until gc's grace is over."""
    from workbench.keeping import remove

    with registry_of(context) as registry:
        named = [version.ref for version in selected(registry, references, where)]
        versions = remove(registry, named, dry_run=True)
        if not dry_run and _confirmed(f"remove {', '.join(version.ref for version in versions)}?", yes):
            versions = remove(registry, named)
    if json:
        output.document("removed", {**versions_document(versions), "dry_run": dry_run})
    else:
        print_versions(versions, json=False, quiet=quiet)
    if dry_run:
        output.hint(f"dry run: {_count(len(versions), 'version')} would be removed")
    else:
        output.hint(f"to have one back: tau restore {versions[0].ref}" if versions else "nothing to remove")


def restore(
    context: typer.Context,
    references: References,
    source: Annotated[
        Path | None, typer.Option("--from", help="The original file or folder, where its bytes are gone.")
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring removed versions back, as they were."""
    from workbench.keeping import removed, restore_version

    named = expanded(references)
    if source is not None and len(named) != 1:
        raise typer.BadParameter("--from holds the content of one version; name exactly one")
    with registry_of(context) as registry:
        for reference in named:
            version = removed(registry, reference) if dry_run else restore_version(registry, reference, source)
            print_version(version, json=json, quiet=quiet)
    if dry_run:
        output.hint(f"dry run: {_count(len(named), 'version')} would be restored")


def relink(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder that files were moved to; searched with all below it.")],
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find files that were cataloged in place or imported, and moved since: by what they hold, not by their names."""
    from workbench.keeping import relink

    with registry_of(context) as registry:
        found = relink(registry, folder, dry_run=dry_run)
    if json:
        output.document("relink", plain(found))
    elif quiet:
        output.lines(new for _, new in found.moved)
    else:
        output.rows(("was", "is now"), found.moved)
    verb = "would be relinked" if found.dry_run else "relinked"
    output.hint(f"{_count(len(found.moved), 'file')} {verb}, {found.read} of {found.seen} read")
    for path in found.missing:
        output.hint(f"still missing: {path}")
    for path in found.unreadable:
        output.hint(f"cannot be read: {path}")


def gc(
    context: typer.Context,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Hours for which nothing must have needed or touched the bytes.")
    ] = 24.0,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Delete bytes that nothing needs any more: removed versions, broken imports, lost uploads. Imports may go on."""
    from workbench.keeping import collect_garbage

    with registry_of(context) as registry:
        seconds = grace * SECONDS_AN_HOUR
        swept = collect_garbage(registry, grace=seconds, dry_run=True) if dry_run or _asks(yes) else None
        if not dry_run and (swept is None or _confirmed(f"delete {swept.bytes:,} bytes?", yes)):
            swept = collect_garbage(registry, grace=seconds)
    if swept is not None:
        _print_swept(swept, json=json, quiet=quiet)


def doctor(
    context: typer.Context,
    deep: Annotated[bool, typer.Option("--deep", help="Read and hash every byte: finds bit rot.")] = False,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="With --deep: move rotten blobs away, so that an import replaces them.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check the database, the blob store, and whether rows and bytes agree; exit 4 when something is wrong."""
    from workbench.keeping import diagnose

    if set_aside and not deep:
        raise typer.BadParameter("--set-aside needs --deep: only reading finds what is rotten")
    with registry_of(context) as registry, counting("checking", "of the store") as progress:
        found = diagnose(registry, deep=deep, set_aside=set_aside, progress=progress)
    _print_diagnosis(found, json=json, quiet=quiet)
    if not found.ok:
        raise typer.Exit(Outcome.REFUSED)


def _print_swept(swept: "Swept", *, json: bool, quiet: bool) -> None:
    parts = {
        "blobs that nothing needs": swept.unreferenced,
        "bytes without a row": swept.without_row,
        "left by killed imports": swept.staging,
        "uploads never completed": swept.uploads,
        "opened folders of removed versions": swept.folders,
        "local copies not opened for long": swept.copies,
    }
    if json:
        output.document("gc", {**plain(swept), "bytes": swept.bytes})
    elif quiet:
        output.lines([swept.bytes])
    else:
        output.rows(("what", "how many", "bytes"), [(what, part.count, part.bytes) for what, part in parts.items()])
    if swept.dry_run:
        output.hint(f"dry run: {swept.bytes:,} bytes would be deleted")


def _print_diagnosis(found: "Diagnosis", *, json: bool, quiet: bool) -> None:
    consistency = found.consistency
    if json:
        problems = [{**plain(problem), "remedy": problem.remedy} for problem in consistency.problems]
        agreement = {**plain(consistency), "problems": problems, "ok": consistency.ok}
        database = {**plain(found.database), "ok": found.database.ok}
        output.document("doctor", {"ok": found.ok, "database": database, "blobs": found.blobs, "storage": agreement})
        return
    if quiet:
        output.lines(problem.where for problem in consistency.problems)
        return
    output.fields(
        {
            "database": found.database.url,
            "schema": found.database.revision,
            "complaints": "; ".join(found.database.complaints) or "none",
            "blobs": found.blobs,
            "checked": f"{consistency.checked:,} places{', every byte read' if consistency.deep else ''}",
            "problems": output.words(dict(consistency.counts)) or "none",
        }
    )
    for problem in consistency.problems:
        output.problem(f"{problem.wrong}: {problem.where}: {problem.detail}. What helps: {problem.remedy}")


def _asks(yes: bool) -> bool:
    """Whether there is somebody to ask, and no --yes."""
    return not yes and sys.stdin.isatty()


def _confirmed(question: str, yes: bool) -> bool:
    """What the person says; without one at a terminal, or with --yes, it is yes. Raises Abort for a no."""
    if _asks(yes):
        typer.confirm(question, abort=True, err=True)
    return True


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
