"""What the wheel holds, by pyproject.toml alone and by building it."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SHIPPED = ("tests", "benchmarks", "scripts", "docs", "build", "migrations")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel built from a clean copy of the tracked and untracked sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    subprocess.run(command, cwd=source, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.namelist()


def test_every_package_of_the_tree_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.glob("[a-z]*/**/*.py")
        if path.relative_to(ROOT).parts[0] not in NOT_SHIPPED
    }
    found |= {"registry.migrations", "registry.migrations.versions"}
    assert sorted(listed) == sorted(found)


def test_the_wheel_ships_migrations_assets_and_tables(wheel: list[str]) -> None:
    assert "registry/migrations/env.py" in wheel
    assert any(name.startswith("registry/migrations/versions/0001") for name in wheel)
    assert any(name.endswith("shapes-base/unet/diffusion_pytorch_model.safetensors") for name in wheel)
    assert any(name.startswith("formats/tables/") for name in wheel)
    assert "workbench/templates/report.html.j2" in wheel
    assert any(name.endswith(".lark") for name in wheel)


def test_the_wheel_ships_no_tests_and_no_benchmarks(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert not tops & {"tests", "benchmarks", "scripts", "migrations"}
