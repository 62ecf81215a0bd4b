"""Commands on the catalog: import, ls, search, show, history, lineage, alias, tag, publish, identify."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import lineage_document, plain, version_document, versions_document
from ui.cli.options import Draft, DryRun, Json, Name, Quiet, Reference, References
from ui.cli.session import place_of, registry_of

if TYPE_CHECKING:
    from formats import Identification
    from registry import Registry, Version

Kind = Annotated[str | None, typer.Option("--kind", help="base, acceleration, style, composition or other.")]
Family = Annotated[str | None, typer.Option("--family", help="Such as sd15, or the name of an imported base.")]
State = Annotated[str | None, typer.Option("--state", help="draft, published, deprecated or archived.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="KEY or KEY=VALUE; may be repeated.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
After = Annotated[str | None, typer.Option("--after", help="Go on after this version: the last one of a page.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("import")(import_)
    for command in (ls, search, show, history, lineage, alias, tag, publish, identify):
        app.command()(command)


def import_(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="A safetensors file, a PEFT folder or a diffusers base folder.")],
    kind: Kind = None,
    name: Name = None,
    title: Annotated[str | None, typer.Option("--title", help="A title for people.")] = None,
    license: Annotated[str | None, typer.Option("--license", help="Such as openrail++.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="The base that the vector belongs to.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="A note on this version.")] = None,
    tag: Tags = None,
    trigger: Annotated[list[str] | None, typer.Option("--trigger", help="A trigger word; may be repeated.")] = None,
    strength: Annotated[float | None, typer.Option("--strength", help="The recommended lambda.")] = None,
    draft: Draft = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take a file or folder into the registry: identified, hashed, copied; importing it again changes nothing."""
    from workbench.importing import import_file

    with registry_of(context) as registry:
        version = import_file(
            registry,
            source,
            kind=kind,
            name=name,
            title=title,
            license=license,
            base=base,
            note=note,
            tags=_pairs(tag),
            trigger_words=tuple(trigger or ()),
            recommended_strength=strength,
            draft=draft,
        )
        print_version(version, json=json, quiet=quiet)


def ls(
    context: typer.Context,
    kind: Kind = None,
    family: Family = None,
    tag: Tags = None,
    state: State = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List versions, newest first."""
    search(context, None, kind, family, tag, state, limit, after, json, quiet)


def search(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(help="Words or a pattern such as 'paper*'.")] = None,
    kind: Kind = None,
    family: Family = None,
    tag: Tags = None,
    state: State = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search versions by text and filters."""
    with registry_of(context) as registry:
        before = registry.get(after).id if after else None
        found = registry.search(
            text, kind=kind, family=family, tags=_pairs(tag), state=state, limit=limit, after=before
        )
    following = found[-1].ref if len(found) == limit else None
    if json:
        output.document("versions", {**versions_document(found), "next": following})
    else:
        print_versions(found, json=False, quiet=quiet)
        if following:
            output.hint(f"there may be more: --after {following}")


def show(context: typer.Context, reference: Reference, json: Json = False, quiet: Quiet = False) -> None:
    """Everything known of one version."""
    with registry_of(context) as registry:
        print_version(registry.get(reference), json=json, quiet=quiet)


def history(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What happened to a model and its versions: when, by whom, what was before and after."""
    with registry_of(context) as registry:
        events = registry.history(model)
    if json:
        output.document("history", {"model": model, "events": plain(events)})
    elif quiet:
        output.lines(event.action for event in events)
    else:
        output.rows(
            ("at", "actor", "subject", "action", "before", "after"),
            [(output.moment(e.at), e.actor, e.subject, e.action, e.before, e.after) for e in events],
        )


def lineage(context: typer.Context, reference: Reference, json: Json = False, quiet: Quiet = False) -> None:
    """What a version was made from, and what was made from it."""
    with registry_of(context) as registry:
        graph = registry.lineage(reference)
    if json:
        output.document("lineage", lineage_document(graph))
    elif quiet:
        output.lines(plain(node)["ref"] for node in graph.nodes)
    else:
        output.rows(
            ("child", "relation", "weight", "parent"),
            [(edge.child, edge.relation, edge.weight, edge.parent) for edge in graph.edges],
        )


def alias(
    context: typer.Context,
    references: References,
    name: Annotated[str, typer.Option("--as", help="The alias, such as production.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away instead.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Point an alias at versions: papercut@production then means this one."""
    with registry_of(context) as registry:
        change = registry.unalias if remove else registry.alias
        _each(registry, references, lambda ref: change(ref, name), dry_run=dry_run, json=json, quiet=quiet)


def tag(
    context: typer.Context,
    references: References,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY or KEY=VALUE; may be repeated.")] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", help="A KEY to remove; may be repeated.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set and remove tags of versions."""
    if not set_ and not unset:
        raise typer.BadParameter("nothing to do; give --set KEY=VALUE or --unset KEY")
    with registry_of(context) as registry:

        def change(ref: str) -> None:
            for key, value in _pairs(set_).items():
                registry.tag(ref, key, value)
            for key in unset or ():
                registry.untag(ref, key)

        _each(registry, references, change, dry_run=dry_run, json=json, quiet=quiet)


def publish(
    context: typer.Context, references: References, dry_run: DryRun = False, json: Json = False, quiet: Quiet = False
) -> None:
    """Publish drafts: their files are frozen from then on."""
    with registry_of(context) as registry:
        _each(registry, references, registry.publish, dry_run=dry_run, json=json, quiet=quiet)


def identify(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A safetensors file, a PEFT folder or a diffusers base folder.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a file is, and on what evidence. Needs no registry; the bases of one that is there are known too."""
    from workbench.importing import identify_file
    from workbench.opening import existing_registry

    place = place_of(context)
    with existing_registry(place.home, place.database) as registry:
        if registry is not None:
            output.hint(f"registry: {registry.url}")
        found = identify_file(path, registry)
    if json:
        output.document("identify", found.to_json())
    elif quiet:
        output.lines([found.family.value])
    else:
        _print_identification(found)


def print_version(version: "Version", *, json: bool, quiet: bool) -> None:
    """One version, as the caller asked for it."""
    if json:
        output.document("version", version_document(version))
    elif quiet:
        output.lines([version.ref])
    else:
        output.fields(_version_fields(version))


def print_versions(versions: list["Version"], *, json: bool, quiet: bool) -> None:
    """Versions, as the caller asked for them."""
    if json:
        output.document("versions", versions_document(versions))
    elif quiet:
        output.lines(version.ref for version in versions)
    else:
        output.rows(
            ("version", "kind", "family", "state", "aliases", "tags", "title"),
            [(v.ref, v.kind, v.family, v.state, " ".join(v.aliases), _tags(v.tags), v.title) for v in versions],
        )


def _version_fields(version: "Version") -> dict[str, object]:
    facts = version.facts or {}
    return {
        "version": version.ref,
        "title": version.title,
        "kind": version.kind,
        "state": version.state,
        "family": version.family,
        "adapter": facts.get("adapter", {}).get("value"),
        "layout": facts.get("layout", {}).get("value"),
        "rank": facts.get("rank"),
        "alpha": facts.get("alpha"),
        "license": version.license,
        "author": version.author,
        "note": version.note,
        "created": output.moment(version.created_at),
        "aliases": " ".join(version.aliases),
        "tags": _tags(version.tags),
        "trigger words": ", ".join(version.trigger_words),
        "strength": version.recommended_strength,
        "sampling": ", ".join(f"{key} {value}" for key, value in version.sampling.items()),
        "origin": version.origin.uri if version.origin else None,
        "digest": f"sha256:{version.digest}",
        "files": ", ".join(artifact.path for artifact in version.artifacts),
    }


def _print_identification(found: "Identification") -> None:
    rows = [("family", found.family), ("adapter", found.adapter), ("layout", found.layout)]
    output.rows(
        ("what", "value", "confidence", "evidence"),
        [(name, f.value, f"{f.confidence:.0%}", "; ".join(f.evidence)) for name, f in rows],
    )
    output.fields(
        {
            "rank": found.rank,
            "alpha": found.alpha,
            "dtype": found.dtype,
            "modules": found.modules,
            "parameters": found.parameters,
            "sha256": found.hashes.sha256 if found.hashes else None,
        }
    )
    for warning in found.warnings:
        output.hint(f"warning: {warning}")


def _pairs(texts: Iterable[str] | None) -> dict[str, str]:
    """KEY=VALUE texts as a mapping; a KEY alone has the value ""."""
    return {key: value for key, _, value in (text.partition("=") for text in texts or ())}


def _tags(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" if value else key for key, value in tags.items())


def _each(
    registry: "Registry",
    references: Iterable[str],
    change: Callable[[str], object],
    *,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Change every reference, after all of them were found; print the versions as they are then."""
    found = [registry.get(reference).ref for reference in _expanded(references)]
    if dry_run:
        output.hint(f"dry run: {len(found)} version{'s' if len(found) != 1 else ''} would change")
    else:
        for ref in found:
            change(ref)
    print_versions([registry.get(ref) for ref in found], json=json, quiet=quiet)


def _expanded(references: Iterable[str]) -> list[str]:
    """The references, `-` replaced by the lines of stdin."""
    expanded: list[str] = []
    for reference in references:
        if reference == "-":
            expanded += [line.strip() for line in sys.stdin if line.strip()]
        else:
            expanded.append(reference)
    return expanded
