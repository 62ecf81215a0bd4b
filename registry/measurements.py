"""Keeps what was measured of vectors, as bytes: their meaning is arithmetic's, which the registry does not know."""

from registry.database import Database
from registry.references import resolve
from registry.tables import MeasureRow
from registry.unit_of_work import UnitOfWork
from registry.values import Version


class Measurements:
    """The measures of versions. They follow from the content, so recording them is no event."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, version: Version | str) -> bytes | None:
        """What was recorded of a version, None where nothing was. Raises what a reference can."""
        with self._database.reading() as uow:
            row = uow.session.get(MeasureRow, _key(uow, version))
            return row.content if row else None

    def record(self, version: Version | str, content: bytes, *, largest_norm: float | None, is_finite: bool) -> None:
        """Keep what was measured of a version, in the place of what was recorded before.

        `largest_norm` is that of the module with the largest delta, None where `is_finite` is not true.
        """
        with self._database.writing() as uow:
            key = _key(uow, version)
            row = MeasureRow(version_id=key, content=content, largest_norm=largest_norm, is_finite=is_finite)
            uow.session.merge(row)
            uow.commit()


def _key(uow: UnitOfWork, version: Version | str) -> int:
    return resolve(uow, version).id if isinstance(version, str) else version.id
