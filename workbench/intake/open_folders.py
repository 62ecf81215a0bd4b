"""The folders of this machine that are open to pages: a page is a door to its files, and reads inside them alone.

They are those of TAU_IMPORT_ROOTS, which imports take models from and trainings pictures.
"""

from pathlib import Path

from workbench.errors import ForbiddenPath


def allowed_path(said: str, roots: tuple[Path, ...], elsewhere: str) -> Path:
    """The path that `said` leads to, links followed, inside one of `roots`.

    Raises ForbiddenPath, which says how to allow it and what to do `elsewhere`: a sentence before the path.
    """
    try:
        path = Path(said).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ForbiddenPath(f"path {said!r}: {error}; give the whole path of a file or folder") from error
    if any(path.is_relative_to(root.resolve()) for root in roots):
        return path
    there = f"the folders that are open to imports: {', '.join(map(str, roots))}" if roots else "any allowed folder"
    raise ForbiddenPath(
        f"{path}: lies outside {there}. {elsewhere} {path}, or open its folder to these pages "
        f"and start them again: TAU_IMPORT_ROOTS={path.parent} tau ui"
    )


def require_unmoved(path: str) -> None:
    """Raises ForbiddenPath where a link was put in the way of a path since it was allowed."""
    if str(Path(path).resolve()) != path:
        raise ForbiddenPath(f"{path}: leads elsewhere since it was allowed, to {Path(path).resolve()}; ask again")
