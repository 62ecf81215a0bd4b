from pathlib import Path

import pytest

from registry import InvalidName, Unsupported
from registry.filesystem import refuse_network_file_system, safe_relative_path

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
