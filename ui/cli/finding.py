"""Commands that find and compare: ls, search, lineage, fits, diff, license."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.catalog import print_versions
from ui.cli.documents import lineage_document, plain, version_document, versions_document
from ui.cli.options import Json, Quiet, Reference
from ui.cli.session import registry_of

if TYPE_CHECKING:
    from registry import Page

Several = list[str] | None
Kind = Annotated[Several, typer.Option("--kind", help="base, acceleration, style, composition or other; repeatable.")]
Family = Annotated[Several, typer.Option("--family", help="Such as sd15, or the name of an imported base; repeatable.")]
Tags = Annotated[Several, typer.Option("--tag", help="KEY or KEY=VALUE; repeat it for versions that have all.")]
Without = Annotated[Several, typer.Option("--without-tag", help="KEY or KEY=VALUE that a version must not have.")]
State = Annotated[Several, typer.Option("--state", help="draft, published, deprecated or archived; repeatable.")]
License = Annotated[Several, typer.Option("--license", help="An identifier such as openrail++, or none; repeatable.")]
Base = Annotated[Several, typer.Option("--base", help="The base that vectors belong to: a model's name; repeatable.")]
Rank = Annotated[str | None, typer.Option("--rank", help="A number such as 64, or a range such as 16..64.")]
Alias = Annotated[str | None, typer.Option("--alias", help="An alias that means the version now.")]
Hash = Annotated[str | None, typer.Option("--hash", help="The beginning of any hash of the version or of its files.")]
Since = Annotated[str | None, typer.Option("--since", help="Made on this day or later, such as 2025-03-01.")]
Until = Annotated[str | None, typer.Option("--until", help="Made before this day.")]
Favourites = Annotated[str | None, typer.Option("--favourites", help="Of whom: models that NAME keeps at hand.")]
Order = Annotated[str | None, typer.Option("--sort", help="newest, oldest, name or relevance.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
After = Annotated[str | None, typer.Option("--after", help="Go on after this: what the page before said.")]
Count = Annotated[bool, typer.Option("--count", help="Also say how many there are in all, up to 10,000.")]
BY_AGE = ("newest", "oldest")


class Shape(StrEnum):
    """How lineage is written."""

    TABLE = "table"
    TREE = "tree"
    DOT = "dot"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (ls, search, lineage, fits, diff, license_):
        app.command("license" if command is license_ else None)(command)


def ls(
    context: typer.Context,
    kind: Kind = None,
    family: Family = None,
    tag: Tags = None,
    without_tag: Without = None,
    state: State = None,
    license: License = None,
    base: Base = None,
    rank: Rank = None,
    alias: Alias = None,
    hash: Hash = None,
    since: Since = None,
    until: Until = None,
    favourites: Favourites = None,
    sort: Order = None,
    limit: Limit = 50,
    after: After = None,
    count: Count = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List versions, newest first."""
    said = {"kind": kind, "family": family, "state": state, "license": license, "base": base, "rank": rank}
    said |= {"alias": alias, "hash": hash, "since": since, "until": until, "favourite_of": favourites}
    said |= {"tags": tag, "without_tags": without_tag}
    _list(context, None, sort or "newest", limit, after, count, said, json=json, quiet=quiet)


def search(
    context: typer.Context,
    query: Annotated[
        list[str] | None,
        typer.Argument(help='Words, "a phrase", pat*terns, conditions such as kind:style or, after --, -tag:nsfw.'),
    ] = None,
    kind: Kind = None,
    family: Family = None,
    tag: Tags = None,
    state: State = None,
    sort: Order = None,
    limit: Limit = 50,
    after: After = None,
    count: Count = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search versions; the best first, which is where the words stand: in names, in titles, anywhere.

    papercut: a word that begins so. "paper cut": these words exactly. *cut*: a name or title of this shape.
    kind:style,base family:sd15 rank:16..64 license:mit tag:approved=yes base:sd15 alias:production name:papercut
    state:draft author:ann hash:ab12cd34 since:2025-03-01 until:2025-04-01 favourite:ann nsfw:no; a - in front excludes.
    """
    said = {"kind": kind, "family": family, "tags": tag, "state": state}
    _list(context, " ".join(query or ()), sort or "relevance", limit, after, count, said, json=json, quiet=quiet)


def lineage(
    context: typer.Context,
    reference: Reference,
    shape: Annotated[Shape, typer.Option("--as", help="A table of edges, a tree, or Graphviz's dot.")] = Shape.TABLE,
    depth: Annotated[int | None, typer.Option("--depth", min=1, help="Steps at most, up and down.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Versions at most, up and down.")] = 500,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a version was made from, and what was made from it."""
    from registry.lineage_text import dot, tree

    with registry_of(context) as registry:
        root = registry.get(reference).ref
        graph = registry.lineage(root, depth=depth, limit=limit)
    if json:
        output.document("lineage", lineage_document(graph))
    elif quiet:
        output.lines(plain(node)["ref"] for node in graph.nodes)
    elif shape is Shape.TABLE:
        edges = [(edge.child, edge.relation, edge.weight, edge.parent) for edge in graph.edges]
        output.rows(("child", "relation", "weight", "parent"), edges)
    else:
        output.lines(tree(graph, root) if shape is Shape.TREE else dot(graph, root))
    if not graph.complete:
        output.hint(f"more than {limit} versions; the nearest are shown. For more: --limit, or less deep: --depth")


def fits(
    context: typer.Context,
    reference: Reference,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Vectors, or bases of each architecture, at most.")] = 50,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The vectors that fit a base, or the bases that a vector fits, by modules and shapes, with the reasons."""
    with registry_of(context) as registry:
        found = registry.fits(reference, limit=limit)
    if json:
        documents = [{**plain(fit), "version": version_document(fit.version)} for fit in found]
        output.document("fits", {"reference": reference, "fits": documents})
    elif quiet:
        output.lines(fit.version.ref for fit in found if fit.verdict == "fits")
    else:
        output.rows(
            ("version", "verdict", "reasons"), [(f.version.ref, f.verdict, "; ".join(f.reasons)) for f in found]
        )


def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="name, name:3, name@alias or sha256:...")],
    after: Annotated[str, typer.Argument(help="The version to compare with it.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What tells two versions apart: what is said of them, what was found in them, tags, files."""
    from registry.comparison import differences

    with registry_of(context) as registry:
        one, other = registry.get(before), registry.get(after)
    found = differences(one, other)
    if json:
        output.document("diff", {"before": one.ref, "after": other.ref, "differences": plain(found)})
    elif quiet:
        output.lines(difference.field for difference in found)
    else:
        output.rows(("field", one.ref, other.ref), [(d.field, _shown(d.before), _shown(d.after)) for d in found])


def license_(context: typer.Context, reference: Reference, json: Json = False, quiet: Quiet = False) -> None:
    """The terms that a version is under through what it was made from, and what keeps it from being published."""
    with registry_of(context) as registry:
        report = registry.license_report(reference)
    if json:
        output.document("license", plain(report))
    elif quiet:
        output.lines(report.conflicts)
    else:
        output.rows(
            ("what", "detail"),
            [
                ("version", f"{report.ref}: {report.license or 'no licence stated'}"),
                *(("from", f"{one} by {one.relation}") for one in report.inherited),
                *(("conflict", conflict) for conflict in report.conflicts),
                *(("notice", notice) for notice in report.notices),
            ],
        )


def _list(
    context: typer.Context,
    text: str | None,
    sort: str,
    limit: int,
    after: str | None,
    count: bool,
    said: dict[str, Any],
    *,
    json: bool,
    quiet: bool,
) -> None:
    with registry_of(context) as registry:
        past = registry.get(after).id if after and sort in BY_AGE else after
        page = registry.page(text, sort=sort, limit=limit, after=past, counted=count, **said)
    following = _following(page, sort)
    if json:
        document = {**versions_document(page.versions), "next": following}
        output.document("versions", {**document, "count": page.total} if count else document)
        return
    print_versions(list(page.versions), json=False, quiet=quiet)
    if count:
        output.hint(f"{page.total} in all")
    if following:
        output.hint(f"there may be more: --after {following}")


def _following(page: "Page", sort: str) -> str | None:
    """What --after takes for the next page: in the orders by age the last version's own name."""
    if page.cursor is None:
        return None
    return page.versions[-1].ref if sort in BY_AGE else page.cursor


def _shown(value: object) -> object:
    if isinstance(value, dict):
        return output.words(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else value
