"""data check, and trainings on parquet files, shards and data with corrupt pictures in it."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

Tau = Callable[..., Result]
QUICK = ("--steps", 2, "--batch", 2, "--rank", 2, "--base", "shapes", "--name", "fast")


@pytest.fixture
def table(data: Path, tmp_path: Path) -> Path:
    """The eight pictures as a parquet file."""
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    images = [{"bytes": (data / row["file_name"]).read_bytes(), "path": row["file_name"]} for row in rows]
    columns = {"picture": images, "said": [row["text"] for row in rows], "url": [row["file_name"] for row in rows]}
    pq.write_table(pa.table(columns), tmp_path / "circles.parquet")
    return tmp_path / "circles.parquet"


@pytest.fixture
def damaged(data: Path, tmp_path: Path) -> Path:
    """The folder with two corrupt pictures."""
    folder = Path(shutil.copytree(data, tmp_path / "damaged"))
    (folder / "2.png").write_bytes(b"nothing")
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:200])
    return folder


def test_a_check_tells_counts_sizes_captions_and_the_fingerprint(tau: Tau, data: Path, table: Path) -> None:
    result = tau("data", "check", data, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["schema"], report["kind"], report["pictures"], report["ok"]) == ("tau.dataset/1", "folder", 8, True)
    assert report["captions"] == {"distinct": 1, "empty": 0, "longest": 40}
    assert report["sizes"] == {"distinct": 1, "smallest": [64, 64], "largest": [64, 64]}
    same = tau("data", "check", table, "--caption-column", "said", "-q")
    assert same.stdout == f"{report['fingerprint']}\n"
    assert tau("data", "check", table, "--caption-column", "url", "-q").stdout != same.stdout
    plain = tau("data", "check", table, "--image-column", "picture", "--caption-column", "said").stdout
    assert {"kind\tparquet", "pictures\t8", "corrupt\t0", f"fingerprint\t{report['fingerprint']}"} <= {
        *plain.splitlines()
    }


def test_a_check_names_every_corrupt_picture_and_is_refused_until_they_are_left_out(tau: Tau, damaged: Path) -> None:
    result = tau("data", "check", damaged, "--json")
    assert result.exit_code == 4
    report = json.loads(result.stdout)
    assert [line.split(" ")[0] for line in report["corrupt"]] == ["2.png", "5.png"]
    assert (report["pictures"], report["ok"]) == (6, False)
    assert "2 pictures are corrupt" in result.stderr
    left = tau("data", "check", damaged, "--skip-corrupt")
    assert left.exit_code == 0
    assert left.stdout.splitlines()[-2:] == report["corrupt"]


def test_what_cannot_be_read_is_refused_with_the_remedy(tau: Tau, table: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ((table,), "2 columns may be the caption: said, url"),
        ((table, "--caption-column", "siad"), "Did you mean said?"),
        ((tmp_path / "missing.tar",), "nothing is there"),
    ):
        result = tau("data", "check", *arguments)
        assert (result.exit_code, words in result.stderr) == (4, True), result.stderr
    assert tau("data", "check", "hf://nowhere").exit_code == 2


def test_a_job_on_corrupt_pictures_is_refused_until_they_are_left_out_and_then_says_so_everywhere(
    painted: Tau, damaged: Path, home: Path
) -> None:
    refused = painted("distill", "lcd-lora", *QUICK, "--data", damaged, "--no-worker")
    assert (refused.exit_code, "2 corrupt pictures: 2.png (not a picture); 5.png" in refused.stderr) == (4, True)
    given = ("--data", damaged, "--skip-corrupt", "--data-license", "cc0-1.0")
    result = painted("distill", "lcd-lora", *QUICK, *given, "--wait", "--json")
    assert result.exit_code == 0, result.stderr
    job = json.loads(result.stdout)
    assert job["result"] == {"version": "fast:1", "left_out": 2}
    log = painted("jobs", "logs", job["id"]).stdout
    assert "2 corrupt pictures are left out, 6 are used:\n2.png (not a picture)\n5.png (" in log
    (listed,) = home.rglob("corrupt-pictures.txt")
    assert [line.split(" ")[0] for line in listed.read_text().splitlines()] == ["2.png", "5.png"]
    graph = json.loads(painted("lineage", "fast", "--json").stdout)
    (parent,) = [edge["parent"] for edge in graph["edges"] if edge["relation"] == "trained_on"]
    from registry import Registry

    with Registry.open(home) as registry:
        known = registry.dataset(parent)
    assert (known.name, known.uri, known.license) == ("damaged", damaged.as_uri(), "cc0-1.0")
    assert (known.kind, known.revision, known.pictures, known.left_out) == ("folder", None, 6, 2)


def test_shards_by_pattern_and_parquet_with_named_columns_are_trained_on(
    painted: Tau, data: Path, table: Path, tmp_path: Path
) -> None:
    for number in range(8):
        with tarfile.open(tmp_path / f"circles-{number % 2}.tar", "a") as shard:
            shard.add(data / f"{number}.png", f"{number}.png")
            (tmp_path / "caption").write_text("a circle")
            shard.add(tmp_path / "caption", f"{number}.txt")
    pattern = tmp_path / "circles-{0..1}.tar"
    assert painted("distill", "lcd-lora", *QUICK, "--data", pattern, "--no-worker").exit_code == 0
    columns = ("--image-column", "picture", "--caption-column", "said")
    style = painted("train", "style", *QUICK[:-1], "mine", "--data", table, *columns, "--no-worker", "--json")
    spec = json.loads(style.stdout)["spec"]
    assert spec["reading"] == {"image_column": "picture", "caption_column": "said"}
    assert painted("worker", "--until-idle").exit_code == 0
    assert painted("jobs", "ls", "-q", "--state", "succeeded").stdout == "2\n1\n"


def test_the_hub_is_asked_where_its_client_is_told_to(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ui.cli.main", "data", "check", "hf://datasets/someone/birds"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "hf://datasets/someone/birds: the Hub did not answer" in result.stderr
