"""What the registry refuses, as one tree.

RegistryError
├── NotFound             no such reference, blob, job or data set; carries the nearest names
│   └── Removed              a version that was removed and can be restored
├── InvalidReference     a text that no reference can look like
│   └── AmbiguousReference   a digest prefix that several contents share
├── InvalidQuery         a text that the language of searches cannot read, or a page of another search
├── InvalidName          a slug, alias, tag or path that the catalog does not accept
├── Conflict             the write contradicts what is already recorded
│   ├── LineageCycle     an edge that would make a version its own ancestor
│   └── IllegalTransition    a state that cannot follow the present one
├── Refused              the content cannot be registered as what it was said to be
│   └── LicenseConflict  what a version was made from does not allow it to be published so
├── CorruptBlob          stored bytes that are missing or no longer have their size
├── LeaseLost            a worker wrote about a job that is no longer its own
├── Unreachable          a database or blob store that refuses us or does not answer
├── SchemaMismatch       the database is older or newer than this code
└── Unsupported          an address that this installation cannot open
"""

from collections.abc import Iterable


class RegistryError(Exception):
    """Base of everything that the registry raises on purpose."""


class NotFound(RegistryError):
    """No such thing; `nearest` holds the names that look most like what was asked for."""

    def __init__(self, what: str, nearest: Iterable[str] = ()) -> None:
        self.nearest = tuple(nearest)
        hint = f" Did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        super().__init__(f"{what}{hint}")


class Removed(NotFound):
    """A version that was removed and can be restored."""


class InvalidReference(RegistryError):
    """A text that is no reference."""


class AmbiguousReference(InvalidReference):
    """A digest prefix that several contents share."""


class InvalidQuery(RegistryError):
    """A text that the language of searches cannot read, or a cursor that belongs to another search."""


class InvalidName(RegistryError):
    """A slug, alias, tag or relative path outside the accepted alphabet."""


class Conflict(RegistryError):
    """The write contradicts what is already recorded."""


class LineageCycle(Conflict):
    """An edge that would make a version its own ancestor."""


class IllegalTransition(Conflict):
    """A state that cannot follow the present one."""


class Refused(RegistryError):
    """The content cannot be registered as what it was said to be."""


class LicenseConflict(Refused):
    """A version whose licence contradicts the licences of what it was made from."""


class CorruptBlob(RegistryError):
    """Stored bytes that are missing or no longer have their size."""


class LeaseLost(RegistryError):
    """The job was taken over, finished or released: the worker must stop and write nothing more."""


class Unreachable(RegistryError):
    """A database or blob store that refuses us or does not answer."""


class SchemaMismatch(RegistryError):
    """The database is older or newer than this code."""


class Unsupported(RegistryError):
    """An address that this installation cannot open."""
