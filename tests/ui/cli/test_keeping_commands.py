"""rm, restore, relink, gc, doctor."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Tau = Callable[..., Result]


@pytest.fixture
def loner(tau: Tau, stocked: Path) -> Path:
    """A file that is registered as `loner` and that nothing came from."""
    path = stocked / "loner.txt"
    path.write_text("alone")
    assert tau("import", path, "--kind", "other").exit_code == 0
    return path


def blobs(home: Path) -> set[str]:
    """The sha256 of everything in the store."""
    return {path.name for path in (home / "blobs").rglob("*") if path.is_file() and len(path.name) == 64}


def test_a_removed_version_is_gone_until_it_is_restored(tau: Tau, loner: Path) -> None:
    assert tau("rm", "loner", "-q").stdout == "loner:1\n"
    gone = tau("show", "loner:1")
    assert gone.exit_code == 3
    assert "tau restore loner:1" in gone.stderr
    assert "loner:1" not in tau("ls", "-q").stdout
    assert tau("restore", "loner:1", "-q").stdout == "loner:1\n"
    assert tau("show", "loner", "-q").stdout == "loner:1\n"
    assert "removed" in tau("history", "loner", "-q").stdout


def test_what_something_came_from_is_not_removed_without_it(tau: Tau, stocked: Path) -> None:
    composed = tau("compose", "0.5*papercut + lcm", "--name", "mix", "-q")
    assert composed.exit_code == 0, composed.stderr
    refused = tau("rm", "papercut")
    assert refused.exit_code == 5
    assert "mix:1 came from it" in refused.stderr
    both = tau("rm", "-", "--json", stdin="papercut\nmix\n")
    document = json.loads(both.stdout)
    assert (document["schema"], document["dry_run"]) == ("tau.removed/1", False)
    assert [version["ref"] for version in document["versions"]] == ["mix:1", "papercut:1"]
    assert tau("restore", "mix:1").exit_code == 5
    assert tau("restore", "papercut:1", "mix:1", "-q").stdout == "papercut:1\nmix:1\n"


def test_a_query_names_what_is_removed(tau: Tau, loner: Path) -> None:
    assert tau("rm").exit_code == 2
    dry = tau("rm", "--where", "kind:other,style", "--dry-run", "-q")
    assert set(dry.stdout.split()) == {"loner:1", "papercut:1"}
    assert "2 versions would be removed" in dry.stderr
    assert tau("rm", "--where", "kind:other", "--yes", "-q").stdout == "loner:1\n"
    assert tau("rm", "--where", "kind:other", "-q").stdout == ""
    assert tau("ls", "--kind", "style", "-q").stdout == "papercut:1\n"


def test_a_dry_run_changes_nothing(tau: Tau, home: Path, loner: Path, left_behind: Callable[[], object]) -> None:
    before = left_behind()
    assert tau("rm", "loner", "--dry-run", "-q").stdout == "loner:1\n"
    assert left_behind() == before
    tau("rm", "loner")
    before = left_behind()
    assert tau("restore", "loner", "--dry-run", "-q").stdout == "loner:1\n"
    said = json.loads(tau("gc", "--grace", "0", "--dry-run", "--json").stdout)
    assert (said["dry_run"], said["unreferenced"]) == (True, {"count": 1, "bytes": 5})
    assert left_behind() == before


def test_gc_takes_the_bytes_of_removed_versions_after_their_grace_alone(tau: Tau, home: Path, loner: Path) -> None:
    before = blobs(home)
    tau("rm", "loner")
    assert tau("gc", "-q").stdout == "0\n"
    assert blobs(home) == before
    assert tau("gc", "--grace", "0", "-q").stdout == "5\n"
    assert len(before - blobs(home)) == 1
    gone = tau("restore", "loner:1")
    assert gone.exit_code == 1
    assert "tau restore loner:1 --from FILE" in gone.stderr
    assert tau("restore", "loner:1", "--from", loner, "-q").exit_code == 0
    assert blobs(home) == before


def test_a_source_belongs_to_one_version_and_must_be_there(tau: Tau, loner: Path) -> None:
    tau("rm", "loner", "lcm")
    assert tau("restore", "loner:1", "lcm:1", "--from", loner).exit_code == 2
    assert tau("restore", "loner:1", "--from", "nowhere").exit_code == 3
    assert tau("restore", "lcm:1", "--from", loner).exit_code == 4
    assert tau("restore", "papercut:9").exit_code == 3


def test_moved_files_are_relinked(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    path = stocked / "big.txt"
    path.write_text("too big to copy")
    assert tau("import", path, "--kind", "other", "--in-place", "-q").stdout == "big:1\n"
    moved = shutil.move(path, tmp_path / "moved.txt")
    assert tau("doctor").exit_code == 4
    assert "tau relink" in tau("doctor").stderr
    said = json.loads(tau("relink", tmp_path, "--dry-run", "--json").stdout)
    assert (said["dry_run"], said["moved"]) == (True, [[str(path), str(moved)]])
    assert tau("relink", stocked).stdout == ""
    assert str(path) in tau("relink", stocked).stderr
    assert tau("relink", tmp_path, "-q").stdout == f"{moved}\n"
    assert tau("doctor").exit_code == 0
    assert tau("relink", tmp_path / "absent").exit_code == 3


def test_the_doctor_finds_what_is_lost_and_what_is_rotten(tau: Tau, home: Path, stocked: Path) -> None:
    sound = json.loads(tau("doctor", "--json").stdout)
    assert (sound["ok"], sound["storage"]["counts"], sound["database"]["ok"]) == (True, {}, True)
    (rotten, lost, *_) = sorted((home / "blobs").rglob("*" * 1 + "[0-9a-f]" * 62))
    rotten.chmod(0o644)
    rotten.write_bytes(bytes(rotten.stat().st_size))
    lost.unlink()
    shallow = tau("doctor", "-q")
    assert (shallow.exit_code, shallow.stdout) == (4, f"{lost.name}\n")
    assert tau("doctor", "--set-aside").exit_code == 2
    deep = json.loads(tau("doctor", "--deep", "--set-aside", "--json").stdout)
    assert {problem["where"]: problem["wrong"] for problem in deep["storage"]["problems"]} == {
        rotten.name: "bit rot",
        lost.name: "row without bytes",
    }
    assert all(problem["remedy"] for problem in deep["storage"]["problems"])
    for name in ("base", "papercut.safetensors", "lcm.safetensors"):
        tau("import", stocked / name, "--name", {"base": "tiny"}.get(name, Path(name).stem))
    assert tau("doctor", "--deep").exit_code == 0
