import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from registry import Registry, SchemaMismatch, Unreachable, Unsupported, schema
from registry.settings import Settings, config_file

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_config_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_a_new_home_is_made_and_migrated(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "deep" / "home") as registry:
        assert registry.search() == []
        assert schema.revision(registry.database.engine) == schema.HEAD
    with Registry.open(tmp_path / "deep" / "home") as registry:
        assert registry.search() == []


def test_many_who_open_a_new_home_at_once_all_get_it(tmp_path: Path) -> None:
    def look(_: int) -> int:
        with Registry.open(tmp_path / "home") as registry:
            return len(registry.search())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [0] * 8


def test_the_argument_wins_over_the_environment_and_that_over_the_config_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text(f'home = "{tmp_path / "configured"}"\nuser = "bea"\n')
    assert (Settings().home, Settings().user) == (tmp_path / "configured", "bea")
    monkeypatch.setenv("TAU_HOME", str(tmp_path / "environment"))
    assert Settings().home == tmp_path / "environment"
    with Registry.open(tmp_path / "argument") as registry:
        assert registry.home == tmp_path / "argument"
        assert registry.database.actor == "bea"


def test_an_unknown_key_in_the_config_file_is_refused() -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text('hoem = "x"\n')
    with pytest.raises(ValidationError, match="hoem"):
        Settings()


def test_database_and_blobs_can_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAU_BLOB_URL", f"file://{tmp_path / 'bytes'}")
    url = f"sqlite:///{tmp_path / 'rows' / 'r.db'}"
    with Registry.open(tmp_path / "home", url) as registry:
        path = registry.blob_path(registry.put_blob(b"x"))
        assert registry.url == url
    assert path.is_relative_to(tmp_path / "bytes")
    assert (tmp_path / "rows" / "r.db").is_file()


@pytest.mark.parametrize(
    "url",
    ["mysql://ann:secret@host/db", "postgresql+asyncpg://ann:secret@host/db", "sqlite://", "sqlite:///:memory:", "?:@"],
)
def test_an_address_that_cannot_be_opened_is_refused_without_showing_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unsupported, match=r"expected sqlite:///FILE or postgresql\+psycopg://") as caught:
        Registry.open(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_an_address_may_stand_in_the_place_of_the_home(database_url: str, tmp_path: Path) -> None:
    with Registry.open(database_url) as registry:
        assert registry.url == database_url
        assert schema.revision(registry.database.engine) == schema.HEAD
    with Registry.open(str(tmp_path / "home")) as registry:
        assert registry.home == tmp_path / "home"


def test_postgresql_needs_no_driver_in_its_address(new_database: Callable[[str], str], tmp_path: Path) -> None:
    plain = new_database("template0").replace("postgresql+psycopg://", "postgresql://")
    with Registry.open(tmp_path, plain) as registry:
        assert registry.search() == []


def test_many_who_open_a_new_database_at_once_all_get_it(database_url: str, tmp_path: Path) -> None:
    def look(number: int) -> int:
        with Registry.open(tmp_path / str(number), database_url) as registry:
            return len(registry.search())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [0] * 8


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql+psycopg://ann:secret@/db?host={tmp_path}"
    with pytest.raises(Unreachable, match=r"ann:\*\*\*@.*Check that it runs") as caught:
        Registry.open(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_a_connection_that_the_server_ended_is_replaced(
    new_database: Callable[[str], str], migrated_template: str, tmp_path: Path
) -> None:
    with Registry.open(tmp_path, new_database(migrated_template)) as registry:
        with registry.database.engine.connect() as connection:
            mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with Registry.open(tmp_path, registry.url) as other, other.database.engine.connect() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend({mine})"))
        assert registry.search() == []


def test_a_blob_address_that_cannot_be_opened_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAU_BLOB_URL", "ftp://host/blobs")
    with pytest.raises(Unsupported, match="expected file:///folder"):
        Registry.open(tmp_path)


def test_a_database_at_another_revision_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry, registry.database.writing() as uow:
        uow.session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        uow.commit()
    with pytest.raises(SchemaMismatch, match=r"is at revision 0000, expected .* Run `tau db upgrade`"):
        Registry.open(tmp_path)


def test_a_database_that_a_newer_version_made_asks_for_that_version(tmp_path: Path) -> None:
    with Registry.open(tmp_path) as registry, registry.database.writing() as uow:
        uow.session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        uow.commit()
    with pytest.raises(SchemaMismatch, match="Install a newer tauworks"):
        Registry.open(tmp_path)


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "other") as other, other.database.writing() as uow:
        uow.session.execute(text("DROP TABLE alembic_version"))
        uow.commit()
    with pytest.raises(SchemaMismatch, match="has no schema of ours"):
        Registry.open(tmp_path / "other")


def test_importing_the_registry_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'alembic', 'pydantic', 'safetensors', 'diffusers'}"
    code = f"import sys, registry, registry.jobs; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"


def test_a_named_home_wins_over_a_database_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAU_DATABASE_URL", f"sqlite:///{tmp_path / 'team.db'}")
    with Registry.open(tmp_path / "mine") as registry:
        assert registry.url == f"sqlite:///{tmp_path / 'mine' / 'registry.db'}"
    assert not (tmp_path / "team.db").exists()


def test_the_executor_is_this_machine_unless_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().ray_address is None
    monkeypatch.setenv("TAU_EXECUTOR", "http://head:8265/")
    assert Settings().ray_address == "http://head:8265"
    monkeypatch.setenv("TAU_EXECUTOR", "local")
    assert Settings().ray_address is None


@pytest.mark.parametrize("said", ["", "Local", "ray://head:10001", "head:8265", "http://", "http://head:8265/api"])
def test_an_executor_that_is_neither_is_refused_with_the_remedy(said: str) -> None:
    with pytest.raises(Unsupported, match=r"TAU_EXECUTOR '.*': expected local, or .* such as http://head:8265"):
        _ = Settings(executor=said).ray_address


def test_folders_to_import_from_are_separated_as_in_path_or_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().import_roots == ()
    monkeypatch.setenv("TAU_IMPORT_ROOTS", os.pathsep.join(["/srv/loras", "", "/srv/bases"]))
    assert Settings().import_roots == (Path("/srv/loras"), Path("/srv/bases"))
    monkeypatch.delenv("TAU_IMPORT_ROOTS")
    config_file().parent.mkdir(parents=True)
    config_file().write_text('import_roots = ["/srv/loras"]\nblur_nsfw = false\n')
    assert (Settings().import_roots, Settings().blur_nsfw) == ((Path("/srv/loras"),), False)


def test_a_folder_to_import_from_needs_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAU_IMPORT_ROOTS", "loras")
    with pytest.raises(ValidationError, match="'loras': expected the whole path of a folder"):
        Settings()
