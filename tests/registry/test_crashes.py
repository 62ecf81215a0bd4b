import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry import NotFound, Registry

ADD = """
import signal, sys
from pathlib import Path
from registry import Registry
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
with Registry.open(Path(sys.argv[1])) as registry:
    registry.add(Path(sys.argv[2]), kind="other", name="note")
"""


def _wait_until(condition: Callable[[], bool], child: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert child.poll() is None, "the child ended before it was to be killed"
        assert time.monotonic() < deadline, "the child never got that far"
        time.sleep(0.02)


@contextmanager
def _adding(registry: Registry, path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that registers `path`, stopped by our write lock exactly between staging and its transaction."""
    with registry.database.writing():
        command = [sys.executable, "-c", ADD, str(registry.home), str(path)]
        child = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.PIPE
        )
        _wait_until(lambda: any(registry.store.folder.rglob("staging/*/weights.txt")), child)
        yield child


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A file to register."""
    path = tmp_path / "note.txt"
    path.write_text("a note")
    return path


def test_a_kill_between_staging_and_commit_leaves_no_row_and_no_visible_blob(registry: Registry, note: Path) -> None:
    with _adding(registry, note) as child:
        child.kill()
        child.communicate()
    with pytest.raises(NotFound):
        registry.get("note")
    placed = [path for path in registry.store.folder.rglob("*") if path.is_file() and len(path.name) == 64]
    assert placed == []
    assert registry.add(note, kind="other").ref == "note:1"


def test_an_interrupt_between_staging_and_commit_leaves_nothing_at_all(registry: Registry, note: Path) -> None:
    with _adding(registry, note) as child:
        child.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in child.communicate()[1]
    left = [path for path in registry.store.folder.rglob("*") if path.is_file()]
    if registry.search():
        assert [path.name for path in left] == [registry.get("note").artifacts[0].sha256]
    else:
        assert left == []
