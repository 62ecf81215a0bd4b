from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DatabaseError

from registry import Registry
from registry.tables import BlobRow, EventRow


def _events(registry: Registry) -> int:
    with registry.database.reading() as uow:
        return uow.session.scalars(select(func.count()).select_from(EventRow)).one()


def test_what_is_not_committed_is_rolled_back(registry: Registry) -> None:
    with registry.database.writing() as uow:
        uow.session.add(EventRow(actor="ann", subject="x", action="tried"))
        uow.session.flush()
    assert _events(registry) == 0
    with registry.database.writing() as uow:
        uow.session.add(EventRow(actor="ann", subject="x", action="done"))
        uow.commit()
    assert _events(registry) == 1


def test_an_error_rolls_back_and_undoes_in_the_opposite_order(registry: Registry) -> None:
    undone: list[str] = []
    with pytest.raises(RuntimeError, match="stop"), registry.database.writing() as uow:
        uow.undo_on_rollback(lambda: undone.append("first"))
        uow.undo_on_rollback(lambda: undone.append("second"))
        raise RuntimeError("stop")
    assert undone == ["second", "first"]


def test_nothing_is_undone_after_a_commit(registry: Registry) -> None:
    undone: list[str] = []
    with registry.database.writing() as uow:
        uow.undo_on_rollback(lambda: undone.append("x"))
        uow.commit()
    assert undone == []


def test_the_connection_keeps_the_promises_of_a_database(registry: Registry) -> None:
    with registry.database.reading() as uow:
        pragmas = {
            name: uow.session.execute(text(f"PRAGMA {name}")).scalar() for name in ("foreign_keys", "synchronous")
        }
        mode = uow.session.execute(text("PRAGMA journal_mode")).scalar()
    assert (pragmas, mode) == ({"foreign_keys": 1, "synchronous": 2}, "wal")


def test_a_writing_unit_holds_the_lock_from_its_first_line(registry: Registry) -> None:
    with registry.database.writing(), registry.database.reading() as reader:
        reader.session.execute(text("PRAGMA busy_timeout = 1"))
        with pytest.raises(DatabaseError, match="locked"):
            reader.session.execute(text("INSERT INTO event (at, actor, subject, action) VALUES ('', '', '', '')"))


def test_a_reading_unit_sees_one_moment(registry: Registry) -> None:
    with registry.database.reading() as reader:
        before = reader.session.scalars(select(func.count()).select_from(BlobRow)).one()
        registry.put_blob(b"new")
        after = reader.session.scalars(select(func.count()).select_from(BlobRow)).one()
    assert before == after == 0


def test_a_failure_after_the_bytes_are_placed_takes_them_back(registry: Registry, tmp_path: Path) -> None:
    kept = registry.put_blob(b"kept")
    with registry.database.writing() as uow:
        uow.session.execute(
            text("CREATE TRIGGER fail BEFORE INSERT ON location BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        )
        uow.commit()
    with pytest.raises(DatabaseError, match="disk is full"):
        registry.put_blob(b"lost")
    assert [path.name for path in registry.store.folder.rglob("*") if path.is_file()] == [kept]
