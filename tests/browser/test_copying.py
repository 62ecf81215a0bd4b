"""The texts of a card are copied with one click."""

from collections.abc import Callable

from playwright.sync_api import expect

from scripts.browsing import Visitor


def test_a_click_copies_the_term_or_the_prompt_and_says_so(arrive: Callable[..., Visitor]) -> None:
    ana = arrive()
    ana.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ana.open(q="glow")
    for text in ("1.0*glow:1", "<lora:glow:1>"):
        button = ana.page.get_by_role("button", name=f"Copy {text}")
        button.click()
        expect(button).to_have_attribute("data-copied", "yes")
        assert ana.page.evaluate("navigator.clipboard.readText()").startswith(text)


def test_where_a_page_may_not_copy_the_text_is_selected(arrive: Callable[..., Visitor]) -> None:
    ana = arrive()
    ana.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    ana.open(q="glow")
    ana.page.get_by_role("button", name="Copy 1.0*glow:1").click()
    assert ana.page.evaluate("window.getSelection().toString()") == "1.0*glow:1"
