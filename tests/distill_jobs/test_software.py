"""Which code made a result."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import distill_jobs
from distill_jobs.software import LIBRARIES, code_version, software

PROGRAM = "from distill_jobs.software import code_version; print(code_version())"


def test_the_code_version_is_a_digest_of_the_sources() -> None:
    assert re.fullmatch(r"distill_jobs/[0-9a-f]{12}", code_version())
    assert set(software()) == {"code", "python", *LIBRARIES}
    assert software()["code"] == code_version()


def test_an_edited_source_is_another_code_version(tmp_path: Path) -> None:
    source = Path(distill_jobs.__file__).parent
    copy = shutil.copytree(source, tmp_path / "distill_jobs", ignore=shutil.ignore_patterns("__pycache__"))
    said = [_said(tmp_path)]
    with (copy / "consistency.py").open("a") as module:
        module.write("\n# another line\n")
    said.append(_said(tmp_path))
    assert said[0] == code_version()
    assert said[1] != said[0]


def _said(path: Path) -> str:
    found = subprocess.run([sys.executable, "-c", PROGRAM], cwd=path, capture_output=True, text=True, check=True)
    return found.stdout.strip()
