from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DatabaseError

from registry import Registry
from registry.tables import BlobRow, DatasetRow, EventRow


def _events(registry: Registry) -> int:
    with registry.database.reading() as uow:
        return uow.session.scalars(select(func.count()).select_from(EventRow)).one()


@pytest.mark.both_databases
def test_what_is_not_committed_is_rolled_back(registry: Registry) -> None:
    with registry.database.writing() as uow:
        uow.session.add(EventRow(actor="ann", subject="x", action="tried"))
        uow.session.flush()
    assert _events(registry) == 0
    with registry.database.writing() as uow:
        uow.session.add(EventRow(actor="ann", subject="x", action="done"))
        uow.commit()
    assert _events(registry) == 1


@pytest.mark.both_databases
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


@pytest.mark.both_databases
def test_a_second_writer_waits_for_the_first(registry: Registry) -> None:
    order, entered = [], Event()

    def write() -> None:
        with registry.database.writing():
            order.append("second")
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with registry.database.writing():
            second = pool.submit(write)
            assert not entered.wait(0.2)
            order.append("first")
        second.result()
    assert order == ["first", "second"]


@pytest.mark.both_databases
def test_what_a_writer_read_is_still_true_when_it_writes(registry: Registry) -> None:
    def add_one(_: int) -> None:
        with registry.database.writing() as uow:
            known = uow.session.scalars(select(func.count()).select_from(DatasetRow)).one()
            uow.session.add(DatasetRow(name=f"set-{known}", fingerprint="ab" * 32, uri=""))
            uow.commit()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(add_one, range(24)))
    with registry.database.reading() as uow:
        names = set(uow.session.scalars(select(DatasetRow.name)))
    assert names == {f"set-{number}" for number in range(24)}


@pytest.mark.both_databases
def test_readers_do_not_wait_for_a_writer(registry: Registry) -> None:
    with registry.database.writing() as uow:
        uow.session.add(DatasetRow(name="shapes", fingerprint="ab" * 32, uri=""))
        uow.session.flush()
        with registry.database.reading() as reader:
            assert reader.session.scalars(select(func.count()).select_from(DatasetRow)).one() == 0


def test_a_reading_unit_of_postgresql_cannot_write(
    new_database: Callable[[str], str], migrated_template: str, tmp_path: Path
) -> None:
    with (
        Registry.open(tmp_path, new_database(migrated_template)) as registry,
        registry.database.reading() as uow,
        pytest.raises(DatabaseError, match="read-only transaction"),
    ):
        uow.session.execute(text("DELETE FROM tag"))


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


@pytest.mark.both_databases
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
