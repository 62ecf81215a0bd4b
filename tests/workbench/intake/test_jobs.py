import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import Conflict, Registry
from registry.jobs import Job
from workbench.errors import ForbiddenPath, InvalidAddress, InvalidSettings, UnknownPath
from workbench.intake.jobs import KIND, run_import, source_of, submit_import
from workbench.jobs.queueing import queue_of
from workbench.jobs.workers import run_job


@pytest.fixture
def library(tmp_path: Path, lora: Callable[..., bytes]) -> Path:
    """A folder with three vectors and a pickle."""
    folder = tmp_path / "library"
    folder.mkdir()
    for seed in range(3):
        (folder / f"style-{seed}.safetensors").write_bytes(lora(seed))
    (folder / "old.ckpt").write_bytes(b"pickle")
    return folder


def done(registry: Registry, job: Job) -> Job:
    """The job after it was run here."""
    run_job(registry, job.id)
    return queue_of(registry).get(job.id)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf://owner/repo@main/file.safetensors", "hf://owner/repo@main/file.safetensors"),
        (" owner/repo ", "hf://owner/repo"),
        ("owner/repo@v1.0", "hf://owner/repo@v1.0"),
        ("https://host/a.safetensors?x=1", "https://host/a.safetensors?x=1"),
    ],
)
def test_addresses_and_ids_are_told_from_paths(text: str, source: str) -> None:
    assert source_of(text, ()) == source


@pytest.mark.parametrize(
    "text", ["", "papercut", "./a.safetensors", "../a/b", "file:a", "C:\\a", "owner/..", "a;b/c", "hf://a"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        source_of(text, (Path("/"),))


@pytest.mark.parametrize("text", ["file:///etc/passwd", "ftp://host/a", "https://user:word@host/a", "https:///a"])
def test_addresses_of_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        source_of(text, (Path("/"),))


def test_only_what_lies_inside_the_open_folders_may_be_imported(tmp_path: Path) -> None:
    inside, outside = tmp_path / "open", tmp_path / "open-but-not"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.safetensors").write_bytes(b"")
    (inside / "link.safetensors").symlink_to(outside / "a.safetensors")
    assert source_of(f"{inside}/./a.safetensors", (inside,)) == str(inside / "a.safetensors")
    assert source_of(str(inside), (inside,)) == str(inside)
    escapes = [
        outside,
        inside / ".." / "open-but-not",
        inside / "link.safetensors",
        "/",
        "~",
        f"{inside}\0",
        "\\\\host\\a",
    ]
    for text in map(str, escapes):
        with pytest.raises((ForbiddenPath, InvalidAddress)):
            source_of(text, (inside,))


def test_percent_signs_in_a_path_are_no_dots(tmp_path: Path) -> None:
    said = f"{tmp_path}/open/%2e%2e/other"
    assert source_of(said, (tmp_path / "open",)) == said


def test_a_refused_path_says_how_to_allow_it(tmp_path: Path) -> None:
    with pytest.raises(ForbiddenPath, match=rf"TAU_IMPORT_ROOTS={tmp_path} tau ui"):
        source_of(str(tmp_path / "a.safetensors"), ())


def test_what_is_not_there_is_refused_before_it_is_queued(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UnknownPath):
        submit_import(registry, str(tmp_path / "nothing"), (tmp_path,))
    assert queue_of(registry).list() == []


def test_a_folder_is_imported_by_a_job_that_says_what_it_left(based: Registry, library: Path) -> None:
    job = done(based, submit_import(based, str(library), (library.parent,)))
    assert (job.kind, job.state) == (KIND, "succeeded")
    assert job.result is not None
    assert (job.result["new"], job.result["left_count"], len(job.result["versions"])) == (3, 1, 3)
    assert job.result["left"][0]["path"].endswith("old.ckpt")
    assert (job.progress["step"], job.progress["steps"], bool(job.progress["note"])) == (3, 3, True)
    again = done(based, submit_import(based, str(library), (library.parent,)))
    assert (again.result["new"], again.result["unchanged"]) == (0, 3)  # type: ignore[index]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({"kind": "acceleration"}, lambda one: one.kind == "acceleration"),
        ({"name": "paper"}, lambda one: one.model == "paper"),
        ({"license": "mit"}, lambda one: one.license == "mit"),
        ({"draft": True}, lambda one: one.state == "draft"),
    ],
)
def test_what_is_said_of_a_file_counts(
    based: Registry, library: Path, said: dict[str, Any], seen: Callable[[Any], bool]
) -> None:
    source = str(library / "style-0.safetensors")
    job = done(based, submit_import(based, source, (library,), **said))
    assert seen(based.get(job.result["versions"][0]))  # type: ignore[index]


def test_files_can_be_left_where_they_are(based: Registry, library: Path) -> None:
    source = library / "style-0.safetensors"
    job = done(based, submit_import(based, str(source), (library,), in_place=True))
    version = based.get(job.result["versions"][0])  # type: ignore[index]
    assert based.blob_path(version.artifacts[0].sha256) == source


def test_the_same_order_twice_is_one_job_and_another_one_about_it_waits(based: Registry, library: Path) -> None:
    first = submit_import(based, str(library), (library,))
    assert submit_import(based, str(library), (library,)).id == first.id
    with pytest.raises(Conflict):
        submit_import(based, str(library), (library,), draft=True)


def test_words_that_an_import_does_not_know_are_refused(based: Registry, library: Path) -> None:
    with pytest.raises(InvalidSettings, match="unknown actor"):
        submit_import(based, str(library), (library,), actor="eve")
    job = done(based, queue_of(based).submit(KIND, {"source": str(library), "actor": "eve"}))
    assert (job.state, "unknown actor" in str(job.last_error)) == ("failed", True)


def test_a_link_that_is_put_in_the_way_of_an_allowed_path_is_noticed(
    based: Registry, library: Path, tmp_path: Path
) -> None:
    job = submit_import(based, str(library), (library,))
    shutil.move(library, tmp_path / "moved")
    library.symlink_to(tmp_path / "moved")
    failed = done(based, job)
    assert (failed.state, "leads elsewhere" in str(failed.last_error)) == ("failed", True)


def test_an_import_stops_where_somebody_cancels_it(based: Registry, library: Path) -> None:
    from distill_jobs import JobContext
    from distill_jobs.errors import Stopped

    queue = queue_of(based)
    submit_import(based, str(library), (library,))
    lease = queue.claim("here")
    assert lease is not None
    context = JobContext(based, lease, library, lambda progress: None, lambda: "somebody wants that")
    with pytest.raises(Stopped, match="stopped after 0 of"):
        run_import(context)
    assert not based.search(kind="style")


def test_a_file_is_fetched_from_an_address_and_its_progress_is_in_hundredths(
    based: Registry,
    web: Any,
    lora: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = type(web.answer("/nowhere"))
    web.pages["/paper.safetensors"] = page(lora(5))
    refused = done(based, submit_import(based, f"{web.url}/paper.safetensors"))
    assert (refused.state, "no public address" in str(refused.last_error)) == ("failed", True)
    monkeypatch.setenv("TAU_URL_HOSTS", web.host)
    job = done(based, submit_import(based, f"{web.url}/paper.safetensors"))
    assert (job.state, job.result["versions"]) == ("succeeded", ["paper:1"])  # type: ignore[index]
    assert (job.progress["step"], job.progress["steps"]) == (100, 100)
