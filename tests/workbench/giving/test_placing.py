"""A new folder takes its place whole or not at all, and nobody loses the ground."""

import shutil
from pathlib import Path

import pytest

from workbench.giving.placing import files_of, put, staged

OLD = {"card": "old", "images/one": "1", "images/two": "2"}
NEW = {"card": "new", "images/two": "3", "unet/deep/x": "4"}


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def below(folder: Path) -> dict[str, str]:
    """Every file of a folder that is not being made."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files_of(folder)}


def renew(folder: Path, files: dict[str, str]) -> None:
    with staged(folder) as place:
        put(write(place / "content", files), folder, place / "before")


@pytest.mark.parametrize("standing", [None, ".", "images"])
def test_what_was_there_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standing: str | None
) -> None:
    out = write(tmp_path / "out", OLD)
    inode = out.stat().st_ino
    if standing:
        monkeypatch.chdir(out / standing)
    renew(out, NEW)
    assert below(out) == NEW
    assert list(tmp_path.iterdir()) == [out]
    if standing:
        assert out.stat().st_ino == inode
        assert Path.cwd().samefile(out / standing)
    assert not list(out.rglob(".*"))


def test_an_empty_folder_stays_the_one_that_it_was(tmp_path: Path) -> None:
    (tmp_path / "out" / "images").mkdir(parents=True)
    (tmp_path / "out").chmod(0o750)
    before = (tmp_path / "out").stat()
    renew(tmp_path / "out", NEW)
    assert (tmp_path / "out").stat()[:3] == before[:3]
    assert below(tmp_path / "out") == NEW


def test_folders_that_the_new_content_does_not_have_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write(tmp_path / "out", OLD)
    monkeypatch.chdir(out)
    renew(out, {"card": "new"})
    assert [path.name for path in out.iterdir()] == ["card"]


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("there", [None, {}, OLD, "inside"])
def test_an_interruption_at_any_step_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: dict[str, str] | str | None, number: int
) -> None:
    out = tmp_path / "parent" / "out"
    if there is not None:
        out.mkdir(parents=True)
        write(out, OLD if there == "inside" else dict(there))
    if there == "inside":
        monkeypatch.chdir(out)
    before, folders = (below(out), sorted(tmp_path.rglob("*"))) if out.exists() else ({}, [])
    with monkeypatch.context() as patched:
        calls = _interrupt(patched, number)
        try:
            renew(out, NEW)
        except KeyboardInterrupt:
            assert below(out) == before
            assert sorted(tmp_path.rglob("*")) == folders
        else:
            assert len(calls) < number
            assert below(out) == NEW


def _interrupt(patched: pytest.MonkeyPatch, number: int) -> list[Path]:
    """Interrupt the rename of that number right after it was done; those that were asked for."""
    replace, calls = Path.replace, list[Path]()

    def interrupted(source: Path, target: Path) -> Path:
        moved = replace(source, target)
        calls.append(source)
        if len(calls) == number:
            raise KeyboardInterrupt
        return moved

    patched.setattr(Path, "replace", interrupted)
    return calls


def test_what_was_put_there_by_nobody_is_no_content(tmp_path: Path) -> None:
    (tmp_path / ".tauworks-part-killed").mkdir()
    (tmp_path / ".tauworks-part-killed" / "half").write_text("made")
    assert files_of(tmp_path) == []
    shutil.rmtree(tmp_path / ".tauworks-part-killed")
    with staged(tmp_path) as place:
        assert place.parent == tmp_path
