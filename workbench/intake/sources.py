"""Takes in whatever a text names: a file, a model's folder, a library, an InvokeAI installation, hf:// or https://."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InvalidAddress, InvalidSettings, UnknownPath
from workbench.intake.hub import SCHEME, import_hub
from workbench.intake.importing import import_file
from workbench.intake.invokeai import find_invokeai, import_invokeai
from workbench.intake.library import import_folder, remember_import
from workbench.intake.report import Imported, ImportReport
from workbench.intake.scanning import Candidate, LeftOut, candidate_of, is_one_model
from workbench.intake.sidecars import Sidecars, read_sidecars
from workbench.intake.statements import complete
from workbench.intake.weblink import import_url
from workbench.pace import Tell

if TYPE_CHECKING:
    from registry import Registry, Version

OF_MANY = frozenset({"draft", "in_place", "kind"})
"""The words that can be said about many models at once."""


def take_in(
    registry: "Registry",
    source: str,
    *,
    update: bool = False,
    sha256: str | None = None,
    dry_run: bool = False,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
    **said: Any,
) -> ImportReport:
    """Import what `source` names; `said` are the words that `import_file` takes.

    Raises InvalidSettings for a word that cannot be said about this source, and what the import of its kind raises.
    """
    from registry.reidentification import identified_since, last_event

    before = last_event(registry.database)
    going = {"tell": tell, "cancelled": cancelled}
    report = _dispatch(registry, source, said, going, update=update, sha256=sha256, dry_run=dry_run)
    return replace(report, identified=identified_since(registry.database, before))


def _dispatch(
    registry: "Registry",
    source: str,
    said: dict[str, Any],
    going: dict[str, Any],
    *,
    update: bool,
    sha256: str | None,
    dry_run: bool,
) -> ImportReport:
    """The import of what `source` turns out to be; `going` is how it is watched and stopped."""
    from registry.exported import own_names

    if source.startswith(SCHEME):
        _refuse(source, "a repository", dry_run=dry_run, sha256=sha256, in_place=said.pop("in_place", False))
        return _fetched(registry, source, import_hub, update=update, **going, **said)
    if "://" in source:
        _refuse(source, "a web address", dry_run=dry_run, in_place=said.pop("in_place", False))
        return _fetched(registry, source, import_url, update=update, sha256=sha256, **going, **said)
    _refuse(source, "a path", update=update, sha256=sha256)
    if not source.strip():
        raise InvalidAddress(f"source {source!r}: expected a path, hf://OWNER/REPO or https://HOST/PATH")
    path = Path(source).expanduser()
    if not path.exists():
        raise UnknownPath(path)
    many = {"dry_run": dry_run, **going}
    if find_invokeai(path) is not None:
        _refuse(source, "an InvokeAI installation", kind=said.pop("kind", None))
        return import_invokeai(registry, path, **many, **_of_many(source, said))
    if path.is_dir() and not is_one_model(path) and not own_names(path):
        return import_folder(registry, path, **many, **_of_many(source, said))
    _refuse(source, "one model", dry_run=dry_run)
    return _import_path(registry, path, said)


def _import_path(registry: "Registry", path: Path, said: dict[str, Any]) -> ImportReport:
    """One file or the folder of one model, with what lies beside it."""
    from registry.exported import sole_file
    from registry.origins import newest_version

    path = sole_file(path) or path
    newest, candidate = newest_version(registry.database), candidate_of(path.absolute())
    found = read_sidecars(path) if path.is_file() else Sidecars()
    version = import_file(registry, path, statements=found.statements, **said)
    left = complete(registry, version.ref, found, version.artifacts[0].sha256)
    if isinstance(candidate, Candidate):
        remember_import(registry, candidate, version)
    left = (*(LeftOut(path / one.path, one.reason) for one in version.left_out), *left)
    return ImportReport((Imported(str(path), version.ref, version.id > newest),), left=left, is_of_one=True)


def _fetched(registry: "Registry", source: str, fetch: "Callable[..., Version]", **words: Any) -> ImportReport:
    from registry.origins import newest_version

    newest = newest_version(registry.database)
    version = fetch(registry, source, **words)
    return ImportReport((Imported(source, version.ref, version.id > newest),), is_of_one=True)


def _of_many(source: str, said: dict[str, Any]) -> dict[str, Any]:
    """The words that hold for every model of a library. Raises InvalidSettings for any other that was said."""
    _refuse(source, "a library of many models", **{key: value for key, value in said.items() if key not in OF_MANY})
    return {key: value for key, value in said.items() if key in OF_MANY}


def _refuse(source: str, what: str, **words: Any) -> None:
    said = sorted(f"--{name.replace('_', '-')}" for name, value in words.items() if value)
    if said:
        raise InvalidSettings(f"{source}: is {what}, about which {', '.join(said)} says nothing; leave it out")
