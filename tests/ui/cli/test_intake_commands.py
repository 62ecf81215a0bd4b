"""The commands that bring things in: import of many, lookup, unlink."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import Result

from ui.cli.progress import duration

Tau = Callable[..., Result]


@pytest.fixture
def library(stocked: Path, write_vector: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with two new vectors, an archive, and a sidecar."""
    folder = tmp_path / "library"
    (folder / "deep").mkdir(parents=True)
    write_vector(folder / "ink.safetensors", seed=11)
    write_vector(folder / "deep" / "oil.safetensors", seed=12)
    (folder / "ink.json").write_text(json.dumps({"activation text": "inky", "preferred weight": 0.5}))
    (folder / "old.zip").write_bytes(b"PK\x03\x04")
    return folder


def test_a_library_is_imported_once_and_known_the_next_time(tau: Tau, library: Path) -> None:
    first = tau("import", library)
    assert first.exit_code == 0, first.stderr
    lines = [line.split("\t") for line in first.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["ink:1", "new"], ["oil:1", "new"]]
    assert "old.zip: an archive" in first.stderr
    assert "2 imported, 0 unchanged, 1 left" in first.stderr
    again = tau("import", library)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "0 imported, 2 unchanged, 1 left" in again.stderr


def test_the_report_of_a_library_is_one_document(tau: Tau, library: Path) -> None:
    report = json.loads(tau("import", library, "--json").stdout)
    assert report["schema"] == "tau.import/1"
    assert [one["version"] for one in report["imported"]] == ["ink:1", "oil:1"]
    assert report["left"][0]["path"].endswith("old.zip")
    assert (report["unchanged"], report["cancelled"]) == (0, False)


def test_vectors_that_came_before_their_base_are_identified_with_it_and_counted(tau: Tau, files: Path) -> None:
    for name in ("papercut", "lcm"):
        assert "identified" not in tau("import", files / f"{name}.safetensors").stderr
    assert tau("fits", "papercut").stdout == ""
    came = tau("import", files / "base", "--name", "tiny")
    assert (came.exit_code, "identified: 2 that came before" in came.stderr) == (0, True)
    assert sorted(line.split("\t")[0] for line in tau("fits", "tiny").stdout.splitlines()) == ["lcm:1", "papercut:1"]
    assert "identified" not in tau("import", files / "base", "--name", "tiny").stderr


def test_a_dry_run_lists_the_paths_and_imports_nothing(tau: Tau, library: Path) -> None:
    before = tau("ls", "-q").stdout
    dry = tau("import", library, "--dry-run", "-q")
    assert dry.stdout.splitlines() == [str(library / "ink.safetensors"), str(library / "deep" / "oil.safetensors")]
    assert tau("ls", "-q").stdout == before


def test_a_sidecar_of_a_single_file_comes_with_it(tau: Tau, library: Path) -> None:
    shown = json.loads(tau("import", library / "ink.safetensors", "--json").stdout)
    assert (shown["ref"], shown["trigger_words"], shown["recommended_strength"]) == ("ink:1", ["inky"], 0.5)


def test_what_is_left_out_of_a_models_folder_is_named_with_the_reason(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many" / "peft"
    tau("export", "papercut", folder, "--format", "peft")
    (folder / "provenance.json").unlink()
    (folder / "optimizer.bin").write_bytes(b"pickle")
    (folder / "scheduler.pt").write_bytes(b"pickle")
    (folder / ".hidden").write_bytes(b"x")
    alone = tau("import", folder, "--json")
    told = {Path(one["path"]).name: one["reason"] for one in json.loads(alone.stdout)["left"]}
    assert told.keys() == {"optimizer.bin", "scheduler.pt", ".hidden"}
    assert "a pickle" in told["scheduler.pt"]
    assert f"left: {folder / 'optimizer.bin'}: a pickle" in alone.stderr
    (folder / "notes.txt").write_text("another version")
    many = json.loads(tau("import", folder.parent, "--json").stdout)
    assert [one["version"] for one in many["imported"]] == ["peft:2"]
    assert sorted(Path(one["path"]).name for one in many["left"]) == [".hidden", "optimizer.bin", "scheduler.pt"]
    again = json.loads(tau("import", folder.parent, "--json").stdout)
    assert (again["unchanged"], [Path(one["path"]).name for one in again["left"]]) == (
        1,
        ["optimizer.bin", "scheduler.pt"],
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--name", "x"], 2),
        (["--update"], 2),
    ],
)
def test_an_option_that_says_nothing_about_a_library_is_a_usage_error(
    tau: Tau, library: Path, arguments: list[str], code: int
) -> None:
    result = tau("import", library, *arguments)
    assert result.exit_code == code
    assert arguments[0] in result.stderr


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("hf://a/../b", 2),
        ("ftp://host/x", 2),
        ("https://127.0.0.1/x.safetensors", 4),
        ("https://169.254.169.254/latest/meta-data", 4),
        ("nowhere.safetensors", 3),
    ],
)
def test_a_source_that_is_refused_has_the_exit_code_of_its_reason(tau: Tau, source: str, code: int) -> None:
    result = tau("import", source)
    assert (result.exit_code, result.stdout) == (code, "")


def test_look_ups_are_off_by_default(tau: Tau, stocked: Path) -> None:
    result = tau("lookup", "papercut")
    assert result.exit_code == 2
    assert "TAU_LOOKUP_URL" in result.stderr


@pytest.fixture
def service(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A service that knows the vector papercut, named in the settings."""
    sha256 = hashlib.sha256((stocked / "papercut.safetensors").read_bytes()).hexdigest()
    found = {"id": 5, "modelId": 7, "name": "v1", "trainedWords": ["ppct"], "model": {"name": "Paper"}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(found).encode()
            self.send_response(200 if self.path.endswith(sha256.upper()) else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("TAU_LOOKUP_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("service")
def test_a_look_up_fills_in_and_an_unlink_takes_back(tau: Tau) -> None:
    looked = tau("lookup", "papercut", "lcm")
    assert looked.exit_code == 0, looked.stderr
    rows = [line.split("\t") for line in looked.stdout.splitlines()]
    assert [row[:3] for row in rows] == [["papercut:1", "civitai", "found"], ["lcm:1", "civitai", "missing"]]
    assert json.loads(tau("show", "papercut", "--json").stdout)["trigger_words"] == ["ppct"]
    assert tau("lookup", "papercut", "lcm", "--known", "-q").stdout.splitlines() == ["found", "missing"]
    dry = tau("unlink", "papercut", "--dry-run", "--json")
    assert [one["status"] for one in json.loads(dry.stdout)["lookups"]] == ["found"]
    assert json.loads(tau("show", "papercut", "--json").stdout)["trigger_words"] == ["ppct"]
    assert "unlinked" in tau("unlink", "papercut", "--service", "civitai").stdout
    assert json.loads(tau("show", "papercut", "--json").stdout)["trigger_words"] == []
    assert tau("unlink", "papercut").exit_code == 3


@pytest.mark.usefixtures("service")
def test_a_reference_that_nobody_can_be_asked_about_keeps_no_other_answer_back(tau: Tau) -> None:
    looked = tau("lookup", "papercut", "nothing", "lcm")
    rows = [line.split("\t") for line in looked.stdout.splitlines()]
    assert [row[:3] for row in rows] == [["papercut:1", "civitai", "found"], ["lcm:1", "civitai", "missing"]]
    assert "nothing: not asked about: " in looked.stderr
    assert looked.exit_code == 1
    said = json.loads(tau("lookup", "nothing", "lcm", "--json").stdout)
    assert [one["reference"] for one in said["refused"]] == ["nothing"]
    assert [one["status"] for one in said["lookups"]] == ["missing"]
    assert tau("lookup", "papercut", "lcm", "--known", "-q").stdout.splitlines() == ["found", "missing"]


def test_a_service_that_is_down_fails_the_command_and_changes_nothing(
    tau: Tau, stocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAU_LOOKUP_URL", "http://127.0.0.1:9")
    before = tau("show", "papercut", "--json").stdout
    result = tau("lookup", "papercut", "-q")
    assert (result.exit_code, result.stdout) == (1, "failed\n")
    assert tau("show", "papercut", "--json").stdout == before


@pytest.mark.parametrize("command", ["import", "lookup", "unlink"])
def test_the_help_of_each_command_can_be_shown(tau: Tau, command: str) -> None:
    shown = tau(command, "--help")
    assert (shown.exit_code, f"tau {command}" in shown.stdout) == (0, True), shown.exception


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_700, "1 h 1 min")])
def test_a_time_to_wait_is_told_in_its_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
