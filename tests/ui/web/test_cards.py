"""What a reader does with cards: keep them at hand, look below the veil, tag many of them."""

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry

OpenPage = Callable[..., AppTest]


def alts(app: AppTest) -> list[str]:
    """What the pictures of the page are said to show."""
    return [image.proto.imgs[0].alt for image in app.image]


def keyed(app: AppTest, beginning: str) -> list[Any]:
    """The buttons whose keys begin so."""
    return [one for one in app.button if (one.key or "").startswith(beginning)]


def said(app: AppTest) -> str:
    """Errors and toasts, without the escapes."""
    return "\n".join([*(one.value for one in app.error), *(one.value for one in app.toast)]).replace("\\", "")


def test_the_star_keeps_a_model_at_hand_and_the_filter_finds_it(filled: Registry, open_page: OpenPage) -> None:
    app = open_page()
    app.button(key="favourite-papercut:1").click().run()
    assert [one.model for one in filled.search(favourite_of="ana")] == ["papercut"]
    assert "★" in app.button(key="favourite-papercut:1").label
    app.button(key="all-favourite-ana").click().run()
    assert [one.key for one in keyed(app, "favourite-")] == ["favourite-papercut:1"]
    app.button(key="favourite-papercut:1").click().run()
    assert not filled.search(favourite_of="ana")


def test_pictures_of_marked_models_are_blurred_until_they_are_clicked(filled: Registry, open_page: OpenPage) -> None:
    filled.edit("papercut", changes={"nsfw": True})
    app = open_page(q="papercut", kind="style")
    assert alts(app) == ["Blurred: marked NSFW"]
    keyed(app, "unveil-")[0].click().run()
    assert alts(app) == ["Painted with papercut:1"]
    assert not keyed(app, "unveil-")


def test_every_picture_on_the_models_page_has_the_veil(filled: Registry, open_page: OpenPage) -> None:
    filled.edit("papercut", changes={"nsfw": True})
    app = open_page("model.py", ref="papercut", section="Pictures")
    assert alts(app) == ["Blurred: marked NSFW"] * 3


def test_the_setting_turns_the_veil_off_and_the_reader_turns_it_on(
    filled: Registry, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.edit("papercut", changes={"nsfw": True})
    monkeypatch.setenv("TAU_BLUR_NSFW", "false")
    app = open_page(q="papercut", kind="style", panel="Filters")
    assert alts(app) == ["Painted with papercut:1"]
    app.toggle(key="veils").set_value(True).run()
    assert alts(app) == ["Blurred: marked NSFW"]


def test_picked_versions_get_a_tag_and_lose_it(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(panel="Select many")
    for ref in ("papercut:1", "lcm-sd15:1"):
        app.checkbox(key=f"pick-{ref}").check().run()
    app.text_input(key="tag-said").set_value("for=print")
    next(one for one in app.button if one.label == "Add tag").click().run()
    assert said(app) == "2 changed: for=print"
    assert {one.ref for one in filled.search(tags={"for": "print"})} == {"papercut:1", "lcm-sd15:1"}
    app.checkbox(key="pick-lcm-sd15:1").uncheck().run()
    app.text_input(key="tag-said").set_value("for")
    next(one for one in app.button if one.label == "Take tag off").click().run()
    assert [one.ref for one in filled.search(tags=["for"])] == ["lcm-sd15:1"]


def test_a_whole_page_is_picked_at_once_and_stays_picked_on_the_next(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(panel="Select many", kind="style")
    app.button(key="pick-page").click().run()
    app.button(key="all-kind-style").click().run()
    assert "**2 selected**" in [one.value for one in app.markdown]
    app.button(key="pick-none").click().run()
    assert "**0 selected**" in [one.value for one in app.markdown]


def test_everything_that_matches_gets_a_tag(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(panel="Select many", kind="style")
    app.checkbox(key="pick-matching").check().run()
    app.text_input(key="tag-said").set_value("checked")
    next(one for one in app.button if one.label == "Add tag").click().run()
    assert {one.model for one in filled.search(tags=["checked"])} == {"papercut", "watercolour"}


def test_a_tag_without_a_name_is_refused_in_words(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(panel="Select many")
    app.button(key="pick-page").click().run()
    next(one for one in app.button if one.label == "Add tag").click().run()
    assert "a tag without a name" in said(app)


def test_a_card_shows_a_few_tags_and_counts_the_others(filled: Registry, open_page: OpenPage) -> None:
    filled.edit("papercut", changes={"tags": dict.fromkeys(("b", "c", "d", "[x](y)"), "")})
    badges = "\n".join(one.value for one in open_page(q="papercut", kind="style").markdown)
    assert "xy" in badges.replace("\\", "").replace("(", "").replace(")", "")
    assert "+2 tags" in badges.replace("\\", "")
    assert "badge[b]" in badges
    assert "badge[c]" not in badges
