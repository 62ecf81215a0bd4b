"""Every page opens in a real browser, asks nobody else for anything, and fits a phone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.browsing import Visitor
from ui.web.app import FOLDER, SHOWN

PAGES = [Path(page).stem for page in SHOWN if (FOLDER / page).is_file()]
ADDRESSES = ("", *PAGES[1:], "model?ref=glow", "jobs?new=lcd-lora", "compose?recipe=0.8*glow%20%2B%20fast-shapes")
WINDOWS = {
    "laptop": {"color_scheme": "light"},
    "phone": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
OVERHANG = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_every_page_opens_without_trouble_and_is_no_wider_than_its_window(
    arrive: Callable[..., Visitor], window: dict[str, object]
) -> None:
    visitor = arrive(**window)
    for page in ADDRESSES:
        visitor.open(page)
        assert visitor.page.evaluate(OVERHANG) <= 0, page
