"""Two people at once: both see the same work, neither disturbs the other, and who leaves finds everything again."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from registry import Registry
from scripts.browsing import Visitor
from workbench.jobs.queueing import submit_training
from workbench.painting.jobs import submit_preview
from workbench.painting.painter_jobs import cancel_unfinished

PROMPT = "a small blue square on a black background"
LONG = {"solver": "ddim", "steps": "120"}
"""So many steps that the pages look several times."""

SHORT = {"solver": "ddim", "steps": "1"}


def test_two_who_look_at_one_painting_both_get_its_picture(arrive: Callable[..., Visitor], home: Path) -> None:
    ana, bob = arrive(), arrive()
    with painter_kept_busy(home):
        bob.page.goto(have_painted(ana, seed="1"))
        for visitor in (ana, bob):
            expect(under_way(visitor.page)).to_be_visible()
    for visitor in (ana, bob):
        expect(picture(visitor.page)).to_be_visible()
        expect(under_way(visitor.page)).to_have_count(0)
        visitor.settle()


def test_who_closes_the_window_comes_back_to_the_finished_picture(arrive: Callable[..., Visitor], home: Path) -> None:
    ana = arrive()
    with painter_kept_busy(home):
        address = have_painted(ana, seed="2")
        expect(under_way(ana.page)).to_be_visible()
        ana.page.context.close()
    back = arrive()
    back.page.goto(address)
    expect(picture(back.page)).to_be_visible()
    expect(prompt(back.page)).to_have_value(PROMPT)
    back.settle()


def test_fields_that_one_changes_stay_as_they_are_for_the_other(arrive: Callable[..., Visitor]) -> None:
    ana, bob = arrive(), arrive()
    ana.open("compose", recipe="glow:1", **SHORT)
    bob.open("compose", recipe="stripes:1", **SHORT)
    for _ in range(2):
        strength(ana.page).press("ArrowRight")
        strength(bob.page).press("ArrowLeft")
    prompt(ana.page).fill("a circle")
    prompt(bob.page).fill("a square")
    for visitor in (ana, bob):
        prompt(visitor.page).press("Control+Enter")
    for visitor, text, painted in ((ana, "1.1*glow:1", "a circle"), (bob, "0.9*stripes:1", "a square")):
        expect(recipe(visitor.page)).to_have_value(text)
        expect(visitor.page.get_by_role("img", name=painted)).to_be_visible()
        expect(prompt(visitor.page)).to_have_value(painted)
        visitor.settle()


def test_a_training_that_one_cancels_is_cancelled_for_the_other(arrive: Callable[..., Visitor], home: Path) -> None:
    with Registry.open(home, actor="ana") as registry:
        job = submit_training(
            registry, base="shapes:1", data=home / "pictures", name="never-done", steps=5000, batch=1, rank=2
        )
    ana, bob = arrive(), arrive()
    for visitor in (ana, bob):
        visitor.open("jobs", job=str(job.id))
    for visitor in (ana, bob):
        expect(visitor.page.get_by_text(re.compile(r"step [1-9]\d* of 5,000")).first).to_be_visible()
    cancel(ana.page).click()
    for visitor in (ana, bob):
        expect(visitor.page.get_by_text("cancelled", exact=True)).to_be_visible()
        expect(cancel(visitor.page)).to_have_count(0)
        visitor.settle()


@contextmanager
def painter_kept_busy(home: Path) -> Iterator[None]:
    """Inside, what else is to be painted waits."""
    with Registry.open(home, actor="ana") as registry:
        prompts = ["a circle", "a square", "a triangle", "a star"]
        job = submit_preview(registry, "glow:1", prompts, base="shapes:1", solver="ddim", steps=1000)
        yield
        cancel_unfinished(registry, job.id)


def have_painted(visitor: Visitor, **scene: str) -> str:
    """Order a painting that takes a while; its address."""
    page = visitor.page
    visitor.open("compose", recipe="glow:1", **LONG, **scene)
    prompt(page).fill(PROMPT)
    prompt(page).press("Control+Enter")
    page.wait_for_url(re.compile(r"[?&]job=\d"))
    return page.url


def under_way(page: Page) -> Locator:
    """How far the painting is."""
    return page.get_by_text(re.compile("Waiting for a painter|A painter is at work"))


def picture(page: Page) -> Locator:
    """What was painted of the prompt."""
    return page.get_by_role("img", name=PROMPT)


def prompt(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Prompt", exact=True)


def recipe(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Recipe")


def strength(page: Page) -> Locator:
    """The handle of the first term's slider."""
    return page.locator(".st-key-strength-0").get_by_role("slider")


def cancel(page: Page) -> Locator:
    return page.get_by_role("button", name="Cancel")
