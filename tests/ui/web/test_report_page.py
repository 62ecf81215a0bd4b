import base64
from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

from registry import Registry

OpenPage = Callable[..., AppTest]
REPORT = "<!doctype html><title>Demo</title><p>joint accuracy 0.62, η</p>"


def test_without_a_report_it_names_the_command_that_makes_it(registry: Registry, open_page: OpenPage) -> None:
    app = open_page("report.py")
    assert [code.value.splitlines()[0] for code in app.code] == ["tau demo"]
    assert not app.download_button


def test_the_report_is_shown_whole_and_can_be_downloaded(registry: Registry, home: Path, open_page: OpenPage) -> None:
    (home / "report.html").write_text(REPORT, encoding="utf-8")
    app = open_page("report.py")
    (frame,) = app.get("iframe")
    head, _, body = frame.proto.src.partition(",")
    assert base64.b64decode(body).decode("utf-8") == REPORT
    assert app.download_button[0].label == "Download"
    assert head.startswith("data:text/html")


def test_the_report_runs_in_an_origin_of_its_own(registry: Registry, home: Path, open_page: OpenPage) -> None:
    (home / "report.html").write_text(REPORT, encoding="utf-8")
    (frame,) = open_page("report.py").get("iframe")
    assert not frame.proto.srcdoc
