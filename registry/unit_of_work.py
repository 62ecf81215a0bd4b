"""Units of work: everything inside commits together, or nothing does."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.orm import Session


class UnitOfWork:
    """One transaction, rolled back unless committed. A writing one holds the write lock from its first line."""

    session: Session

    def __init__(self, engine: Engine, actor: str) -> None:
        self.actor = actor
        self._engine = engine
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        self.session = Session(self._engine, expire_on_commit=False)
        try:
            self.session.connection()
        except BaseException:
            self.session.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.rollback()
        finally:
            self.session.close()

    def undo_on_rollback(self, undo: Callable[[], None]) -> None:
        """Have `undo` run, under the lock that this unit holds, when the unit is rolled back."""
        self._undo.append(undo)

    def commit(self) -> None:
        """Make everything permanent. What was to be undone stays even if this fails: its outcome is then unknown."""
        self.session.flush()
        self._undo.clear()
        self.session.commit()

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self.session.rollback()
