import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry
from ui.web.launch import APP
from ui.web.navigation import shared_registry

OpenPage = Callable[..., AppTest]


def test_visitors_share_one_registry_over_their_threads(filled: Registry, open_page: OpenPage) -> None:
    open_page()
    shared = shared_registry()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: len(shared_registry().search()), range(32)))
    assert found == [4] * 32
    assert shared_registry() is shared


def test_a_page_sees_what_another_process_has_just_registered(
    filled: Registry, lora_file: Callable[..., Path], open_page: OpenPage
) -> None:
    app = open_page()
    filled.add(lora_file("newcomer", 11), kind="style")
    app.run()
    assert any("1.0*newcomer:1" in element.proto.json for element in app.main.get("bidi_component"))


@pytest.mark.parametrize(("revision", "remedy"), [("0001", "tau db upgrade"), ("of-the-future", "newer tauworks")])
def test_a_database_of_another_version_is_explained_on_the_page(
    registry: Registry, home: Path, revision: str, remedy: str
) -> None:
    registry.close()
    with closing(sqlite3.connect(home / "registry.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", [revision])
    app = AppTest.from_file(APP, default_timeout=60).run()
    assert remedy in app.error[0].value.replace("\\", "")
