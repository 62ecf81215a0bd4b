"""A working day in the browser: find two LoRAs, sum them, see what they paint, keep it, and set a training going."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from scripts.browsing import Visitor

PROMPT = "a large red circle on a white background"
STYLE, FAST = "glow:1", "fast-shapes:1"


def test_a_day_from_the_catalog_to_a_training(arrive: Callable[..., Visitor], home: Path) -> None:
    ana = arrive()
    find_a_style(ana)
    compose_it_with_an_acceleration(ana)
    see_what_it_paints(ana)
    paint_a_grid(ana)
    adopt_a_cell(ana)
    keep_it(ana)
    follow_its_lineage(ana)
    start_a_distillation(ana, home / "pictures")
    watch_it(ana)
    cancel_it(ana)


def find_a_style(visitor: Visitor) -> None:
    """A filter and a search narrow the catalog to one card, which opens."""
    page = visitor.page
    visitor.open()
    expect(cards(page)).to_have_count(5)
    page.get_by_role("button", name="Style LoRA").click()
    expect(cards(page)).to_have_count(3)
    assert parameters(page)["kind"] == ["style"]
    search = page.get_by_placeholder("papercut")
    search.fill("glow")
    search.press("Enter")
    expect(cards(page)).to_have_count(1)
    page.get_by_role("link", name="Shapes in glow").click()
    expect(page.get_by_role("heading", name="Shapes in glow")).to_be_visible()
    assert parameters(page)["ref"] == [STYLE]


def compose_it_with_an_acceleration(visitor: Visitor) -> None:
    """Two LoRAs are added from what fits; their sliders rewrite the recipe, and the verdict follows."""
    page = visitor.page
    page.get_by_role("link", name="Compose").click()
    expect(page.get_by_role("heading", name="Compose")).to_be_visible()
    add(visitor, "glow", STYLE)
    add(visitor, "kind:acceleration", FAST)
    expect(recipe(page)).to_have_value(f"{STYLE} + {FAST}")
    move(strength(page, 0), "ArrowRight", times=2)
    expect(recipe(page)).to_have_value(f"1.1*{STYLE} + {FAST}")
    move(strength(page, 1), "ArrowLeft", times=3)
    expect(recipe(page)).to_have_value(f"1.1*{STYLE} + 0.85*{FAST}")
    expect(page.get_by_text("The sum can be made")).to_be_visible()


def see_what_it_paints(visitor: Visitor) -> None:
    """A prompt is painted by the painter, and again at another strength."""
    page = visitor.page
    prompt = page.get_by_role("textbox", name="Prompt")
    prompt.fill(PROMPT)
    prompt.press("Control+Enter")
    expect(picture(page)).to_be_visible()
    before = picture(page).get_attribute("src")
    move(strength(page, 0), "ArrowRight")
    expect(picture(page)).not_to_have_attribute("src", str(before))


def paint_a_grid(visitor: Visitor) -> None:
    """Strength against strength, three by three."""
    page = visitor.page
    page.get_by_role("link", name="Grid", exact=True).click()
    expect(page.get_by_role("heading", name="Grid")).to_be_visible()
    write(visitor, "Recipe", f"{STYLE} + {FAST}")
    write(visitor, "Prompts, one a line", PROMPT)
    write(visitor, "Across", "glow=0.5:1.5:3")
    write(visitor, "Down", "fast-shapes=0,0.5,1")
    page.get_by_role("button", name="Paint 9 cells").click()
    expect(page.get_by_text("9 of 9 pictures are painted")).to_be_visible()


def adopt_a_cell(visitor: Visitor) -> None:
    """The cell in the middle goes to Compose: its recipe, its prompt and its picture, which is there already."""
    page = visitor.page
    page.get_by_role("link", name="Adopt").nth(4).click()
    expect(recipe(page)).to_have_value(f"{STYLE} + 0.5*{FAST}")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT)
    expect(picture(page)).to_be_visible()


def keep_it(visitor: Visitor) -> None:
    """The sum is saved as a version of its own, by a worker."""
    page = visitor.page
    page.get_by_text("Save as a version").click()
    page.get_by_role("textbox", name="Name").fill("glow-fast")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved and proved")).to_be_visible()
    page.get_by_role("link", name="glow-fast:1").click()


def follow_its_lineage(visitor: Visitor) -> None:
    """The version's page knows what it was made of."""
    page = visitor.page
    expect(page.get_by_text("glow-fast:1").first).to_be_visible()
    page.get_by_role("tab", name="Lineage").click()
    for parent in (STYLE, FAST):
        expect(page.get_by_role("tabpanel").get_by_text(parent).first).to_be_visible()


def start_a_distillation(visitor: Visitor, pictures: Path) -> None:
    """The form is checked before anything is trained; what it says is started."""
    page = visitor.page
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("button", name="New training").click()
    page.get_by_role("radio", name="Acceleration LoRA").click()
    page.get_by_role("textbox", name="Name of what is to come").fill("lcm-shapes")
    page.get_by_role("textbox", name="Pictures and captions").fill(str(pictures))
    page.get_by_role("spinbutton", name="Steps", exact=True).fill("5000")
    page.get_by_role("spinbutton", name="Pictures a step").fill("2")
    page.get_by_role("button", name="Check before starting").click()
    page.get_by_role("button", name="Start training lcm-shapes").click()
    expect(page.get_by_role("heading", name="Acceleration LoRA")).to_be_visible()


def watch_it(visitor: Visitor) -> None:
    """The job's page follows it: how far it is, and its loss."""
    page = visitor.page
    expect(page.get_by_text(re.compile(r"step [1-9]\d* of 5,000")).first).to_be_visible()
    page.get_by_role("tab", name="Curves").click()
    expect(page.get_by_role("heading", name="loss")).to_be_visible()


def cancel_it(visitor: Visitor) -> None:
    """A button ends it."""
    page = visitor.page
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()


def add(visitor: Visitor, text: str, ref: str) -> None:
    """Search what fits, and add `ref` out of what is found."""
    page = visitor.page
    visitor.settle()
    search = page.get_by_placeholder("A name, a word")
    if not search.is_visible():  # the fold closes once the sum has a LoRA
        page.get_by_text("Add a LoRA").click()
    search.fill(text)
    search.press("Enter")
    page.locator(f".st-key-add-{ref.replace(':', '-')}").get_by_role("button").click()
    expect(recipe(page)).to_have_value(re.compile(re.escape(ref)))


def cards(page: Page) -> Locator:
    """The cards of the catalog, by the snippet that each has of its version."""
    return page.locator("[class*='st-key-favourite-']")


def recipe(page: Page) -> Locator:
    """The field that is the truth of the page."""
    return page.get_by_role("textbox", name="Recipe")


def strength(page: Page, place: int) -> Locator:
    """The handle of a term's slider."""
    return page.locator(f".st-key-strength-{place}").get_by_role("slider")


def write(visitor: Visitor, label: str, text: str) -> None:
    """Fill a field in, and wait for what the page makes of it."""
    field = visitor.page.get_by_role("textbox", name=label, exact=True)
    field.fill(text)
    field.press("Control+Enter")
    visitor.settle()


def move(handle: Locator, key: str, times: int = 1) -> None:
    """Step a slider with the keyboard, and leave it where it is."""
    handle.focus()
    for _ in range(times):
        handle.press(key)


def picture(page: Page) -> Locator:
    """What was painted of the prompt."""
    return page.get_by_role("img", name=PROMPT)


def parameters(page: Page) -> dict[str, list[str]]:
    """What the URL carries."""
    return parse_qs(urlsplit(page.url).query)
