import threading
import time
from pathlib import Path

import pytest

from registry import InvalidName, Unsupported
from registry.blobs.filesystem import AT_ONCE, in_parallel, refuse_network_file_system, safe_relative_path

MANY = 10 * AT_ONCE
UNSAFE = ["", "/etc/passwd", "../x", "a/../b", "./a", "a//b", "a/", "C:/x", "a\\b", "file:x", "a\0b", "a;\n", "x. "]


@pytest.mark.parametrize("text", UNSAFE)
def test_a_path_that_could_leave_its_folder_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        safe_relative_path(text)


def test_a_plain_path_is_kept() -> None:
    assert str(safe_relative_path("unet/config.json")) == "unet/config.json"


@pytest.mark.parametrize(("kind", "is_refused"), [("ext4", False), ("nfs4", True), ("cifs", True)])
def test_a_network_mount_is_refused_by_its_nearest_mount_point(tmp_path: Path, kind: str, is_refused: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\nserver:/y {tmp_path}/deeper nfs rw 0 0\n"
    )
    if not is_refused:
        refuse_network_file_system(tmp_path, mounts)
        return
    with pytest.raises(Unsupported, match=f"is a {kind} mount"):
        refuse_network_file_system(tmp_path, mounts)


@pytest.mark.parametrize("number", [0, 1, 2, MANY])
def test_everything_is_done_once(number: int) -> None:
    done: list[int] = []
    in_parallel(done.append, range(number))
    assert sorted(done) == list(range(number))


def test_what_waits_waits_together() -> None:
    barrier = threading.Barrier(AT_ONCE, timeout=30)
    in_parallel(lambda _: barrier.wait(), range(AT_ONCE))
    assert not barrier.broken


def test_an_error_stops_what_has_not_begun() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            raise Unsupported("no")
        time.sleep(0.01)
        done.append(number)

    with pytest.raises(Unsupported, match="no"):
        in_parallel(work, range(MANY))
    assert len(done) < MANY - 1
