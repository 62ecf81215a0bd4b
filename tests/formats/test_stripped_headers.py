"""The corpus of stripped headers: what identification says of files that other tools wrote."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formats import Identification, identify, read_header

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPUS = sorted((HERE / "stripped").glob("*.json.gz"))
FINDINGS = ("family", "adapter", "layout", "variant", "prediction_type")

pytestmark = pytest.mark.filterwarnings("error")


def load(path: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress(path.read_bytes()))


def write(case: dict[str, Any], write_stripped: Callable, name: str = "file.safetensors") -> Path:
    shapes = {key: tuple(shape) for key, shape in case["tensors"].items()}
    return write_stripped(shapes, dtype=case["dtype"], metadata=case["metadata"], name=name)


def said(found: Identification, field: str) -> Any:
    return getattr(found, field).value if field in FINDINGS else getattr(found, field)


def check(found: Identification, expected: dict[str, Any]) -> None:
    special = {key: expected[key] for key in ("broken", "surest", "warned") if key in expected}
    plain = {key: value for key, value in expected.items() if key not in special}
    assert {key: said(found, key) for key in plain} == plain
    if special.get("broken", "") is None:
        assert found.broken is None
    elif "broken" in special:
        assert special["broken"] in found.broken
    assert found.family.confidence <= special.get("surest", 1.0)
    assert any(special.get("warned", "") in warning for warning in (*found.warnings, ""))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_a_stripped_header_is_what_its_writer_made_it(path: Path, write_stripped: Callable) -> None:
    case = load(path)
    check(identify(write(case, write_stripped), hashes=False), case["expected"])


@pytest.mark.parametrize("path", CORPUS[::3], ids=lambda path: path.name.removesuffix(".json.gz"))
def test_the_order_of_the_keys_changes_no_answer(path: Path, write_stripped: Callable) -> None:
    case = load(path)
    backwards = {**case, "tensors": dict(reversed(case["tensors"].items()))}
    first = identify(write(case, write_stripped), hashes=False)
    second = identify(write(backwards, write_stripped, "backwards.safetensors"), hashes=False)
    assert {field: said(second, field) for field in FINDINGS} == {field: said(first, field) for field in FINDINGS}
    assert second.family.confidence == first.family.confidence


def test_every_family_every_layout_and_every_kind_is_in_the_corpus() -> None:
    expected = [load(path)["expected"] for path in CORPUS]
    families = {"sd15", "sd21", "sdxl", "sdxl-refiner", "ssd1b", "vega"}
    assert {one.get("family") for one in expected if one["kind"] == "base"} == families
    assert families <= {one.get("family") for one in expected if one["kind"] == "vector"}
    layouts = {"kohya", "kohya-sgm", "diffusers", "diffusers-old", "peft", "onetrainer", "comfy", "lycoris"}
    assert layouts <= {one.get("layout") for one in expected}
    kinds = {"lora", "locon", "loha", "lokr", "glora", "oft", "boft", "ia3", "full", "lora+dora", "lokr+dora"}
    assert kinds <= {one.get("adapter") for one in expected}


def test_the_corpus_is_what_the_generator_writes(tmp_path: Path) -> None:
    script = HERE / "stripped_headers.py"
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, script, tmp_path / "made"], check=True, env=environment)
    made = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert made == {path.name: path.read_bytes() for path in CORPUS}


def test_a_stripped_file_needs_no_more_space_than_its_header(write_stripped: Callable) -> None:
    path = write(load(HERE / "stripped" / "sdxl-checkpoint.json.gz"), write_stripped)
    assert path.stat().st_size > 5_000_000_000
    assert path.stat().st_blocks * 512 < 4 * read_header(path).data_start
