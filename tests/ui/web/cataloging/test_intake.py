"""How models come in over the pages: the import form, the demo of an empty catalog, and how far either is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry
from registry.jobs import Queue
from workbench.jobs.workers import run_job

OpenPage = Callable[..., AppTest]


@pytest.fixture
def roots(lora_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one file that pages may import from."""
    folder = lora_file("papercut", 1).parent / "open"
    folder.mkdir()
    lora_file("open/newcomer", 12)
    monkeypatch.setenv("TAU_IMPORT_ROOTS", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _somebody_works(home: Path) -> Iterator[None]:
    """A worker seems to be alive, so that the pages start none; tests run the jobs themselves."""
    import fcntl

    with (home / "worker.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def said(app: AppTest) -> str:
    """Everything that a page says, without the escapes."""
    elements = [*app.error, *app.success, *app.markdown, *app.caption, *app.subheader]
    return "\n".join(element.value for element in elements).replace("\\", "")


def order(app: AppTest, source: str) -> None:
    """Fill in the form and send it."""
    app.text_input(key="import-source").set_value(source)
    app.button(key="import-go").click().run()


def test_a_path_is_imported_by_a_job_that_the_url_carries(registry: Registry, roots: Path, open_page: OpenPage) -> None:
    app = open_page()
    app.selectbox(key="import-kind").select("acceleration")
    app.text_input(key="import-name").set_value("fast")
    app.text_input(key="import-license").set_value("mit")
    app.checkbox(key="import-draft").check()
    order(app, str(roots / "newcomer.safetensors"))
    job = Queue(registry).get(int(app.query_params["job"][0]))
    words = {"kind": "acceleration", "name": "fast", "license": "mit", "draft": True}
    assert dict(job.spec) == {"source": str(roots / "newcomer.safetensors"), **words}
    run_job(registry, job.id)
    app.run()
    assert "1 new, 0 known already, 0 left out" in said(app)
    assert "fast:1" in [link.value.replace("\\", "") for link in app.page_link]
    app.button(key="close-job").click().run()
    assert "job" not in app.query_params


def test_a_path_outside_the_open_folders_is_refused_with_the_remedy(
    registry: Registry, roots: Path, open_page: OpenPage
) -> None:
    app = open_page()
    order(app, str(roots.parent / "papercut.safetensors"))
    assert "lies outside the folders that are open to imports" in said(app)
    assert "TAU_IMPORT_ROOTS=" in said(app)
    assert Queue(registry).list() == []


def test_a_filled_catalog_has_the_form_as_a_panel(filled: Registry, roots: Path, open_page: OpenPage) -> None:
    app = open_page(panel="Import")
    app.checkbox(key="import-in-place").check()
    order(app, str(roots / "newcomer.safetensors"))
    assert Queue(filled).list()[0].spec["in_place"] is True


def test_without_open_folders_the_form_says_how_to_open_one(registry: Registry, open_page: OpenPage) -> None:
    assert "TAU_IMPORT_ROOTS=/srv/loras tau ui" in said(open_page())


def test_an_import_that_failed_says_why_and_what_to_do(registry: Registry, open_page: OpenPage) -> None:
    job = Queue(registry).submit("import", {"source": "/nothing/there"})
    run_job(registry, job.id)
    app = open_page(job=str(job.id))
    assert "UnknownPath: /nothing/there: no such file or folder" in said(app)
    assert f"tau jobs retry {job.id}" in said(app)


def test_an_import_under_way_can_be_cancelled(filled: Registry, open_page: OpenPage) -> None:
    job = Queue(filled).submit("import", {"source": "/nothing/there"})
    app = open_page(job=str(job.id))
    app.button(key="cancel-job").click().run()
    assert Queue(filled).get(job.id).state == "cancelled"
    assert "cancelled" in said(app)


def test_an_empty_catalog_offers_the_demo_which_runs_as_a_job(registry: Registry, open_page: OpenPage) -> None:
    app = open_page()
    app.button(key="run-demo").click().run()
    (job,) = Queue(registry).list()
    assert (job.kind, str(job.id) in app.query_params["job"]) == ("demo", True)


@pytest.mark.parametrize("job", ["x", "-1", "999999999999999999999", "7"])
def test_a_job_that_is_none_is_no_trouble(filled: Registry, open_page: OpenPage, job: str) -> None:
    assert len(open_page(job=job).page_link) > 3
