"""Commands that change what is said of versions: edit, favourite, alias, tag, publish, deprecate, archive."""

from collections.abc import Callable
from json import JSONDecodeError, loads
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.catalog import pairs, print_versions
from ui.cli.options import DryRun, Json, Quiet
from ui.cli.selection import SomeReferences, Where, Yes, confirm, expanded, selected
from ui.cli.session import registry_of

if TYPE_CHECKING:
    from registry import Registry, Version

Set = Annotated[list[str] | None, typer.Option("--set", help="KEY or KEY=VALUE; may be repeated.")]
Unset = Annotated[list[str] | None, typer.Option("--unset", help="A KEY to remove; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (edit, favourite, alias, tag, publish, deprecate, archive):
        app.command()(command)


def edit(
    context: typer.Context,
    references: SomeReferences = None,
    where: Where = None,
    title: Annotated[str | None, typer.Option("--title", help="The model's title.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="The model's description.")] = None,
    license: Annotated[str | None, typer.Option("--license", help="The model's licence; '' for none.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="The model's kind: style, acceleration, composition or other.")
    ] = None,
    nsfw: Annotated[bool | None, typer.Option("--nsfw/--no-nsfw", help="Whether the model is safe for work.")] = None,
    author: Annotated[str | None, typer.Option("--author", help="Who made the version; '' for nobody.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="A note on the version; '' for none.")] = None,
    trigger: Annotated[
        list[str] | None, typer.Option("--trigger", help="All trigger words, one each time; '' for none.")
    ] = None,
    strength: Annotated[float | None, typer.Option("--strength", help="The recommended strength.")] = None,
    range_: Annotated[
        str | None, typer.Option("--range", help="Strengths that work, as 0.6..1.2; '' for none.")
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(
            "--sampling", help='How it wants to be sampled, as JSON: {"solver": "lcm", "steps": [4]}; {} for any.'
        ),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--tag", help="KEY or KEY=VALUE to put; may be repeated.")] = None,
    unset: Annotated[list[str] | None, typer.Option("--untag", help="A KEY to take off; may be repeated.")] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Change what is said of versions and of their models: all of them, or none where one is refused.

    A kind that was guessed wrong is corrected here too; a base stays a base.
    """
    said: dict[str, Any] = {"title": title, "description": description, "license": license, "nsfw": nsfw}
    said |= {"author": author, "note": note, "recommended_strength": strength, "kind": kind}
    changes = {key: value for key, value in said.items() if value is not None}
    if trigger is not None:
        changes["trigger_words"] = [word for word in trigger if word]
    if range_ is not None:
        changes |= _range(range_)
    if sampling is not None:
        changes["sampling"] = _object(sampling)
    if set_ or unset:
        changes["tags"] = {**pairs(set_), **dict.fromkeys(unset or ())}
    if not changes:
        raise typer.BadParameter("nothing to do; give --title, --license, --note, --trigger, --tag or another option")
    _edit(context, references, where, changes, yes=yes, dry_run=dry_run, json=json, quiet=quiet)


def tag(
    context: typer.Context,
    references: SomeReferences = None,
    where: Where = None,
    set_: Set = None,
    unset: Unset = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set and remove tags of versions."""
    if not set_ and not unset:
        raise typer.BadParameter("nothing to do; give --set KEY=VALUE or --unset KEY")
    changes = {"tags": {**pairs(set_), **dict.fromkeys(unset or ())}}
    _edit(context, references, where, changes, yes=yes, dry_run=dry_run, json=json, quiet=quiet)


def favourite(
    context: typer.Context,
    references: SomeReferences = None,
    where: Where = None,
    of: Annotated[str | None, typer.Option("--of", help="For whom; default: you.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Keep them at hand no longer.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep the models of versions at hand: tau ls --favourites NAME."""

    def change(registry: "Registry", ref: str) -> object:
        return (registry.unfavourite if remove else registry.favourite)(ref, principal=of)

    _each(context, references, where, change, yes=yes, dry_run=dry_run, json=json, quiet=quiet)


def alias(
    context: typer.Context,
    name: Annotated[str, typer.Option("--as", help="The alias, such as production.")],
    references: SomeReferences = None,
    where: Where = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away instead.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Point an alias at versions: papercut@production then means this one."""

    def change(registry: "Registry", ref: str) -> object:
        return (registry.unalias if remove else registry.alias)(ref, name)

    _each(context, references, where, change, yes=yes, dry_run=dry_run, json=json, quiet=quiet)


def publish(
    context: typer.Context,
    references: SomeReferences = None,
    where: Where = None,
    despite: Annotated[
        str | None, typer.Option("--despite", help="Why, where licences conflict; history keeps it.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish drafts: their files are frozen from then on. Refused where licences conflict: see tau license."""

    def change(registry: "Registry", ref: str) -> object:
        return registry.publish(ref, despite=despite)

    _each(context, references, where, change, yes=yes, dry_run=dry_run, json=json, quiet=quiet)


def deprecate(
    context: typer.Context,
    references: SomeReferences = None,
    where: Where = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Offer versions no longer by their model's bare name; all that names them goes on working."""
    _each(context, references, where, lambda r, ref: r.deprecate(ref), yes=yes, dry_run=dry_run, json=json, quiet=quiet)


def archive(
    context: typer.Context,
    references: SomeReferences = None,
    where: Where = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hide versions from search and bare names; publish brings one back."""
    _each(context, references, where, lambda r, ref: r.archive(ref), yes=yes, dry_run=dry_run, json=json, quiet=quiet)


def _edit(
    context: typer.Context,
    references: list[str] | None,
    where: str | None,
    changes: dict[str, Any],
    *,
    yes: bool,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    """One transaction: all or none."""
    if not references and where is None:
        raise typer.BadParameter("name versions, or say which ones with --where")
    with registry_of(context) as registry:
        named = expanded(references or ())
        if not dry_run:
            confirm(registry.select(*named, where=where), where, yes=yes)
        changed = registry.edit(*named, where=where, changes=changes, dry_run=dry_run)
    _print(changed, dry_run=dry_run, json=json, quiet=quiet)


def _each(
    context: typer.Context,
    references: list[str] | None,
    where: str | None,
    change: Callable[["Registry", str], object],
    *,
    yes: bool,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Change every version, after all of them were found; print them as they are then."""
    with registry_of(context) as registry:
        versions = selected(registry, references, where)
        if not dry_run:
            confirm(versions, where, yes=yes)
            for version in versions:
                change(registry, version.ref)
        after = registry.select(*(version.ref for version in versions))
    _print(after, dry_run=dry_run, json=json, quiet=quiet)


def _print(versions: list["Version"], *, dry_run: bool, json: bool, quiet: bool) -> None:
    if dry_run:
        output.hint(f"dry run: {len(versions)} version{'s' if len(versions) != 1 else ''} would change")
    print_versions(versions, json=json, quiet=quiet)


def _range(said: str) -> dict[str, float | None]:
    """LOW..HIGH, or nothing for no range."""
    if not said:
        return {"recommended_low": None, "recommended_high": None}
    low, _, high = said.partition("..")
    try:
        return {"recommended_low": float(low), "recommended_high": float(high)}
    except ValueError:
        raise typer.BadParameter(f"--range {said}: expected two numbers, as 0.6..1.2") from None


def _object(said: str) -> Any:
    """A JSON object; what else it may not be is the registry's affair."""
    try:
        return loads(said)
    except JSONDecodeError as error:
        raise typer.BadParameter(f"--sampling {said}: is no JSON: {error}") from None
