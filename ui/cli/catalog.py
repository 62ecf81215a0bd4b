"""Commands on one version or file: show, identify; and how versions are printed."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import version_document, versions_document
from ui.cli.options import Json, Quiet, Reference
from ui.cli.session import place_of, registry_of
from workbench.training.guidance import in_both_ways

if TYPE_CHECKING:
    from formats import Identification
    from registry import Version


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (show, identify):
        app.command()(command)


def show(
    context: typer.Context,
    reference: Reference,
    at: Annotated[
        datetime | None, typer.Option("--at", help="What NAME@ALIAS meant at this moment, by this machine's clock.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Everything known of one version."""
    with registry_of(context) as registry:
        print_version(registry.get(reference, at=at), json=json, quiet=quiet)


def identify(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A safetensors file, a PEFT folder or a diffusers base folder.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a file is, and on what evidence. Needs no registry; the bases of one that is there are known too."""
    from workbench.intake.importing import identify_file
    from workbench.opening import existing_registry

    place = place_of(context)
    with existing_registry(place.home, place.database) as registry:
        if registry is not None:
            output.hint(f"registry: {registry.database.address}")
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
        "range": _range(version.recommended_low, version.recommended_high),
        "nsfw": "yes" if version.nsfw else None,
        "sampling": ", ".join(f"{key} {value}" for key, value in in_both_ways(version.sampling).items()),
        "origin": version.origin.uri if version.origin else None,
        "digest": f"sha256:{version.digest}",
        "files": ", ".join(artifact.path for artifact in version.artifacts),
    }


def _range(low: float | None, high: float | None) -> str | None:
    return None if low is None and high is None else f"{'' if low is None else low}..{'' if high is None else high}"


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


def pairs(texts: Iterable[str] | None) -> dict[str, str]:
    """KEY=VALUE texts as a mapping; a KEY alone has the value ""."""
    return {key: value for key, _, value in (text.partition("=") for text in texts or ())}


def _tags(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" if value else key for key, value in tags.items())
