"""Gives a version out: its files in a layout of choice, a model card, its provenance and its pictures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import FolderTaken, InvalidAddress
from workbench.giving.card import HUB_ID, card_of
from workbench.giving.placing import files_of, put, staged
from workbench.giving.provenance import provenance_of, provenance_text
from workbench.giving.showcase import write_pictures
from workbench.giving.weight_files import CARD, PROVENANCE, GivenFiles, stored_layout, write_files

if TYPE_CHECKING:
    from registry import Registry, Version


@dataclass(frozen=True)
class Exported:
    """What was written: every path below `folder`, the weights, and what the receiver should know."""

    version: "Version"
    folder: Path
    paths: tuple[str, ...]
    weights: Path
    layout: str | None
    layout_hash: str | None
    is_bit_equal: bool
    warnings: tuple[str, ...]


def export(
    registry: "Registry",
    ref: str,
    folder: Path,
    *,
    layout: str | None = None,
    base_model: str | None = None,
    repo: str | None = None,
) -> Exported:
    """Write a version into `folder` with its card, provenance and pictures, all of it or nothing.

    Args:
        layout: kohya, kohya-sgm, diffusers, comfy or peft; as it is stored when None, and then to the last bit unless
            its header holds secrets or machine paths, which are taken out.
        base_model: the base's repository for the card, where the registry does not know it.
        repo: the repository that the card is for.

    `folder` may be missing, empty or an earlier export, which is replaced.
    Raises FolderTaken, Quarantined, UnsupportedLayout, NotConvertible, InvalidAddress.
    """
    if base_model is not None and not HUB_ID.fullmatch(base_model):
        raise InvalidAddress(f"base model {base_model!r}: expected OWNER/NAME of a repository")
    version = registry.get(ref)
    folder = folder.resolve() if ".." in folder.parts else folder.absolute()
    _require_free(folder)
    with staged(folder) as place:
        content = place / "content"
        content.mkdir()
        given = write_files(registry, version, content, layout=layout, clean=True)
        pictures, left_out = write_pictures(registry, version, content)
        provenance = provenance_text(provenance_of(registry, version, given, pictures))
        (content / PROVENANCE).write_text(provenance, "utf-8")
        card = card_of(registry, version, given, pictures, base_model=base_model, repo=repo)
        (content / CARD).write_text(card.text, "utf-8")
        paths = tuple(sorted(path.relative_to(content).as_posix() for path in content.rglob("*") if path.is_file()))
        _require_free(folder)
        put(content, folder, place / "before")
    warnings = (*_warnings(version, given, card.front), *left_out)
    weights = folder / given.weights
    return Exported(version, folder, paths, weights, given.layout, given.layout_hash, given.is_bit_equal, warnings)


def _require_free(folder: Path) -> None:
    """An export replaces nothing but an earlier export, and that only where nobody has put anything beside it."""
    from registry.exported import provenance_in

    if not folder.exists():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise FolderTaken(f"{folder}: is no folder; name one that is missing or empty")
    present = {path.relative_to(folder).as_posix() for path in files_of(folder)}
    if not present:
        return
    document = provenance_in(folder)
    if document is None:
        raise FolderTaken(f"{folder}: holds {len(present)} files that no export wrote; name another folder")
    listed = [*document.get("files", ()), *document.get("pictures", ())]
    own = {str(entry.get("path")) for entry in listed if isinstance(entry, dict)}
    own |= {CARD, PROVENANCE}
    if foreign := sorted(present - own):
        raise FolderTaken(
            f"{folder}: an earlier export, and beside it {', '.join(foreign[:5])}; move what is yours, or name another "
            "folder"
        )


def _warnings(version: "Version", given: GivenFiles, front: Mapping[str, Any]) -> Iterator[str]:
    facts = version.facts or {}
    if version.license is None:
        yield f"{version.ref} has no licence on record; nobody may know what they may do with it"
    if "base_model" not in front and version.kind not in ("base", "other"):
        yield "the base's repository is unknown, so the card names none; tell it with --base-model OWNER/NAME"
    for file in given.files:
        if file.cleaned:
            yield f"{file.path}: secrets or machine paths were taken out of {', '.join(file.cleaned)}"
        if file.unclean:
            yield f"{file.path}: was not looked through for secrets and machine paths: {file.unclean}"
    if given.converted:
        yield f"written as {given.layout}, stored as {stored_layout(version)}; factors and scales are the same"
    if given.converted and given.layout == "kohya" and facts.get("alpha") is None:
        yield (
            "its alphas vary between modules, which diffusers 0.42 mis-scales in kohya files beside text-encoder "
            f"keys; tau compose {version.ref} writes one alpha for all"
        )
    yield from facts.get("warnings", ())
