import subprocess
import sys

from streamlit import config

from ui.web import command
from ui.web.launch import APP, theme


def test_the_pages_are_served_to_this_machine_alone_and_report_to_nobody() -> None:
    flags = command(port=9000)
    assert {"--server.address=127.0.0.1", "--server.port=9000", "--browser.gatherUsageStats=false"} <= set(flags)
    assert "--server.showEmailPrompt=false" in flags


def test_no_page_waits_for_all_garbage_to_be_collected_after_each_look_of_another() -> None:
    assert "--runner.postScriptGC=false" in command()


def test_a_browser_is_opened_only_when_asked_for() -> None:
    assert "--server.headless=false" in command(open_browser=True)
    assert "--server.headless=true" in command(open_browser=False)


def test_the_command_runs_the_app_with_this_interpreter() -> None:
    assert command()[:5] == [sys.executable, "-m", "streamlit", "run", str(APP)]
    assert APP.is_file()


def test_every_flag_is_a_setting_that_streamlit_knows() -> None:
    known = config.get_config_options()
    flags = [flag.removeprefix("--").split("=")[0] for flag in command() if flag.startswith("--")]
    assert [flag for flag in flags if flag not in known] == []


def test_the_theme_has_both_schemes_and_pins_neither() -> None:
    settings = theme()
    assert settings.keys() >= {"theme.light.primaryColor", "theme.dark.primaryColor"}
    assert "theme.base" not in settings


def test_both_schemes_are_legible() -> None:
    settings = theme()
    for scheme in ("light", "dark"):
        background = settings[f"theme.{scheme}.backgroundColor"]
        for ink in ("textColor", "primaryColor", "linkColor"):
            assert contrast(settings[f"theme.{scheme}.{ink}"], background) >= 4.5


def contrast(ink: str, paper: str) -> float:
    """WCAG 2.1 contrast ratio of two #rrggbb colours."""
    bright, dim = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    """WCAG 2.1 relative luminance."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_importing_the_pages_loads_no_model_library() -> None:
    script = (
        "import sys, ui.web, ui.web.app, ui.web.catalog, ui.web.model, ui.web.report;"
        "print(sorted({'torch', 'diffusers', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
