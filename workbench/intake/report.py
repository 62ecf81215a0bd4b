"""What an import of many things did."""

from dataclasses import dataclass

from workbench.intake.scanning import LeftOut


@dataclass(frozen=True)
class Imported:
    """A path, the version that holds its bytes, and whether that version is new."""

    path: str
    version: str
    is_new: bool


@dataclass(frozen=True)
class ImportReport:
    """What was imported, how many things were known already and not read, and what was left, each with its reason.

    `is_of_one`: what was asked for was one model, and it is the one that was imported. `identified` are the versions
    that were there before and could be identified now, because what they belong to has come.
    """

    imported: tuple[Imported, ...] = ()
    unchanged: int = 0
    left: tuple[LeftOut, ...] = ()
    is_cancelled: bool = False
    is_of_one: bool = False
    identified: tuple[str, ...] = ()
