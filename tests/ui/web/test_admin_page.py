import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from registry import Registry

OpenPage = Callable[..., AppTest]


def words(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.error, *app.info, *app.success]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def button(app: AppTest, label: str) -> Any:
    return next(one for one in app.button if one.label == label)


def test_the_storage_is_counted_by_kind(filled: Registry, open_page: OpenPage) -> None:
    app = open_page("admin.py")
    numbers = {metric.label: metric.value for metric in app.metric}
    assert (numbers["Models"], numbers["Versions"], numbers["Pictures"]) == ("4", "4", "2")
    kinds, places = (frame.value for frame in app.dataframe)
    assert dict(zip(kinds["kind"], kinds["versions"], strict=True))["Style LoRA"] == 2
    assert str(filled.home) in set(places["where"])


def removed(registry: Registry) -> Registry:
    """One version is removed, and was not needed for long."""
    version = registry.remove("watercolour:1")
    digest = version.artifacts[0].sha256
    path = registry.blob_path(digest)
    old = time.time() - 10 * 86400
    os.utime(path, (old, old))
    return registry


def test_garbage_is_shown_before_it_is_deleted_and_only_after_a_yes(filled: Registry, open_page: OpenPage) -> None:
    removed(filled)
    app = open_page("admin.py", section="Clean up")
    app.number_input[0].set_value(0.0).run()
    app = button(app, "See what may go").click().run()
    assert "Nothing was deleted yet" in words(app)
    assert button(app, "Delete").disabled
    app.checkbox[0].check().run()
    app = button(app, "Delete").click().run()
    assert "were freed" in words(app)
    assert filled.storage.gc(dry_run=True, grace=0).bytes == 0


def test_within_the_grace_nothing_may_go(filled: Registry, open_page: OpenPage) -> None:
    filled.remove("watercolour:1")
    app = open_page("admin.py", section="Clean up")
    app = button(app, "See what may go").click().run()
    assert "Nothing is left to clean up" in words(app)


def test_another_grace_asks_anew(filled: Registry, open_page: OpenPage) -> None:
    app = button(open_page("admin.py", section="Clean up"), "See what may go").click().run()
    assert len(app.dataframe) == 1
    app.number_input[0].set_value(1.0).run()
    assert len(app.dataframe) == 0


def test_whoever_worked_with_the_registry_is_listed(filled: Registry, open_page: OpenPage) -> None:
    filled.favourite("papercut", principal="berta")
    app = open_page("admin.py", section="Users")
    people = app.dataframe[0].value.set_index("who")
    assert people.loc["ana", "events"] > 4
    assert people.loc["berta", "favourites"] == 1
    assert "team server" in words(app)


def test_the_doctor_finds_nothing_wrong_or_what_is(filled: Registry, home: Path, open_page: OpenPage) -> None:
    app = button(open_page("admin.py", section="Doctor"), "Check").click().run()
    assert "Nothing is wrong" in words(app)
    digest = filled.get("watercolour:1").artifacts[0].sha256
    path = filled.blob_path(digest)
    path.chmod(0o600)
    path.unlink()
    app = button(app, "Check").click().run()
    assert "Nothing is wrong" not in words(app)
    assert digest[:8] in str(app.dataframe[0].value["where"][0])


def test_only_reading_every_byte_finds_rot_and_moves_it_aside(filled: Registry, open_page: OpenPage) -> None:
    path = filled.blob_path(filled.get("watercolour:1").artifacts[0].sha256)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o600)
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    app = button(open_page("admin.py", section="Doctor"), "Check").click().run()
    assert "Nothing is wrong" in words(app)
    app.checkbox[0].check().run()
    app.checkbox[1].check().run()
    app = button(app, "Check").click().run()
    assert "every byte read" in words(app)
    assert "Nothing is wrong" not in words(app)
    assert not path.exists()
