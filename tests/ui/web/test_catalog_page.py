import json
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from streamlit.testing.v1 import AppTest

from registry import Registry
from ui.web.catalog import PAGE
from ui.web.navigation import shared_registry
from workbench.browsing import filter_values

OpenPage = Callable[..., AppTest]


def titles(app: AppTest) -> list[str]:
    """The links of the cards, in order."""
    return [link.value.strip("*") for link in app.main.page_link]


def snippets(app: AppTest) -> list[str]:
    """The recipe snippets of the cards, in order."""
    return [text for text in codes(app) if re.fullmatch(r"[0-9.]+\*[a-z0-9:-]+", text)]


def codes(app: AppTest) -> list[str]:
    """Everything that can be copied."""
    lines = [json.loads(element.proto.json)["texts"] for element in app.main.get("bidi_component")]
    return [*(code.value for code in app.main.code), *chain.from_iterable(lines)]


def errors(app: AppTest) -> str:
    """What was refused, without the escapes."""
    return "\n".join(error.value for error in app.error).replace("\\", "")


def values(app: AppTest, name: str) -> list[str]:
    """What the URL has for a name."""
    said = app.query_params.get(name, [])
    return [said] if isinstance(said, str) else list(said)


def button(app: AppTest, label: str) -> Any:
    """The first button of that label."""
    return next(one for one in app.button if one.label.replace("\\", "") == label)


def test_an_empty_catalog_says_what_to_do_next(registry: Registry, open_page: OpenPage) -> None:
    app = open_page()
    commands = codes(app)
    assert not any("None" in element.value for element in app.markdown)
    assert any(command.startswith("tau import ") for command in commands)
    assert any(command.splitlines()[0] == "tau demo" for command in commands)


def test_every_version_is_a_card_with_a_recipe_snippet_at_its_recommended_strength(
    filled: Registry, open_page: OpenPage
) -> None:
    app = open_page()
    assert snippets(app) == ["1.0*papercut-lcm:1", "1.0*lcm-sd15:1", "1.0*watercolour:1", "0.8*papercut:1"]
    assert "Paper cut" in titles(app)


def test_a_card_names_kind_family_number_state_and_alias(filled: Registry, open_page: OpenPage) -> None:
    badges = "\n".join(badge.value for badge in open_page(q="papercut", kind="style").markdown)
    for word in ("Style LoRA", "SD 1\\.5", "v1 · published", "\\@production", "openrail\\+\\+", "approved\\: yes"):
        assert word in badges
    assert "no licence recorded" in "\n".join(one.value for one in open_page(q="watercolour").markdown)


def test_a_card_hands_out_the_term_and_the_prompt_tag_with_its_trigger_words(
    filled: Registry, open_page: OpenPage
) -> None:
    copied = codes(open_page(q="papercut", kind="style"))
    assert copied[:2] == ["0.8*papercut:1", "<lora:papercut:0.8> papercut, layered paper"]


def test_a_card_tells_the_recommended_strength_and_its_range(filled: Registry, open_page: OpenPage) -> None:
    filled.edit("papercut", changes={"recommended_low": 0.6, "recommended_high": 1.1})
    badges = "\n".join(badge.value for badge in open_page(q="papercut", kind="style").markdown).replace("\\", "")
    assert "strength 0.8, 0.6 to 1.1" in badges


def test_a_card_shows_a_stored_picture_and_otherwise_a_placeholder(filled: Registry, open_page: OpenPage) -> None:
    pictures = [image.proto.imgs[0] for image in open_page(kind="style").image]
    assert [picture.alt for picture in pictures] == ["", "Painted with papercut:1"]
    assert pictures[0].url.startswith("data:image/svg+xml")
    assert pictures[1].url.endswith(".png")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"q": "water"}, ["watercolour:1"]),
        ({"q": "paper*lcm"}, ["papercut-lcm:1"]),
        ({"kind": "acceleration"}, ["lcm-sd15:1"]),
        ({"kind": "style", "family": "sd15"}, ["watercolour:1", "papercut:1"]),
        ({"kind": "style", "q": "soft shadows"}, ["papercut:1"]),
    ],
)
def test_the_url_carries_search_and_filters(
    filled: Registry, open_page: OpenPage, parameters: dict[str, str], expected: list[str]
) -> None:
    assert [snippet.split("*")[1] for snippet in snippets(open_page(**parameters))] == expected


def test_a_chip_includes_then_excludes_then_leaves_be_and_the_url_says_so(
    filled: Registry, open_page: OpenPage
) -> None:
    app = open_page()
    app.button(key="all-kind-style").click().run()
    assert values(app, "kind") == ["style"]
    assert snippets(app) == ["1.0*watercolour:1", "0.8*papercut:1"]
    app.button(key="all-kind-style").click().run()
    assert (values(app, "kind"), values(app, "not-kind")) == ([], ["style"])
    assert snippets(app) == ["1.0*papercut-lcm:1", "1.0*lcm-sd15:1"]
    app.button(key="all-kind-style").click().run()
    assert not {"kind", "not-kind"} & app.query_params.keys()
    assert len(snippets(app)) == 4


def test_several_values_of_a_key_are_alternatives(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(kind="style")
    app.button(key="all-kind-acceleration").click().run()
    assert values(app, "kind") == ["style", "acceleration"]
    assert snippets(app) == ["1.0*lcm-sd15:1", "1.0*watercolour:1", "0.8*papercut:1"]


def test_everything_on_offer_has_a_chip_behind_the_fold(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(panel="Filters")
    chips = {one.key for one in app.button if one.key and one.key.startswith("all-")}
    assert chips == {f"all-{key}-{value}" for key, offered in filter_values(filled).items() for value in offered}
    app.button(key="all-tag-approved").click().run()
    assert (values(app, "tag"), snippets(app)) == (["approved"], ["0.8*papercut:1"])


def test_filters_behind_the_closed_fold_cost_nothing_but_those_that_are_set_stay_in_sight(
    filled: Registry, open_page: OpenPage
) -> None:
    app = open_page(**{"not-family": "sdxl", "state": "draft"})
    keys = {one.key for one in app.button}
    assert {"set-family-sdxl", "set-state-draft"} <= keys
    assert "all-family-sd15" not in keys
    assert snippets(app) == ["1.0*watercolour:1"]


def test_the_command_line_that_finds_the_same_can_be_copied(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(**{"q": "paper", "kind": "style", "not-family": "sdxl"})
    assert "tau search --sort newest -- 'paper -family:sdxl kind:style'" in codes(app)


@pytest.mark.parametrize(("sort", "first"), [("newest", "papercut-lcm"), ("oldest", "papercut"), ("name", "lcm-sd15")])
def test_the_url_carries_the_order(filled: Registry, open_page: OpenPage, sort: str, first: str) -> None:
    assert snippets(open_page(sort=sort))[0].endswith(f"*{first}:1")


def test_how_many_match_is_said(filled: Registry, open_page: OpenPage) -> None:
    assert "4 versions" in [caption.value for caption in open_page().caption]
    assert "1 version" in [caption.value for caption in open_page(kind="acceleration").caption]


def test_a_refused_query_shows_the_place_in_a_block_of_fixed_width(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(q="paper knd:style")
    assert "did you mean kind:" in errors(app)
    assert "^" not in errors(app)
    assert codes(app) == ["paper knd:style\n      ^"]
    button(app, "Clear search and filters").click().run()
    assert len(snippets(app)) == 4


@pytest.mark.parametrize(("name", "value"), [("kind", "nonsense"), ("after", "AAAA"), ("not-state", "gone")])
def test_an_address_that_cannot_be_understood_is_refused_with_a_way_out(
    filled: Registry, open_page: OpenPage, name: str, value: str
) -> None:
    app = open_page(**{name: value})
    assert errors(app)
    button(app, "Clear search and filters").click().run()
    assert (errors(app), len(snippets(app))) == ("", 4)


def test_a_value_that_nothing_has_finds_nothing(filled: Registry, open_page: OpenPage) -> None:
    assert snippets(open_page(family="<b>")) == []
    assert len(snippets(open_page(after="-1 OR 1=1"))) == 4


def test_a_number_past_every_version_is_an_ordinary_page(filled: Registry, open_page: OpenPage) -> None:
    assert len(snippets(open_page(after="9" * 18))) == 4
    assert len(snippets(open_page(after="0" * 30))) == 4


def test_nothing_found_offers_to_clear_the_question(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(q="no such thing", kind="base")
    assert snippets(app) == []
    button(app, "Clear search and filters").click().run()
    assert len(snippets(app)) == 4


def test_pages_of_the_catalog_have_addresses_and_together_show_everything_once(
    registry: Registry, lora_file: Callable[..., Path], open_page: OpenPage
) -> None:
    for seed in range(PAGE + 2):
        registry.add(lora_file(f"style-{seed}", seed), kind="style")
    app = open_page()
    first = snippets(app)
    (following,) = [button for button in app.button if button.label == "Next page"]
    following.click().run()
    second = snippets(app)
    assert snippets(open_page(after=app.query_params["after"])) == second
    assert (len(first), len(second)) == (PAGE, 2)
    assert len({*first, *second}) == PAGE + 2


def test_another_question_starts_at_its_first_page(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(after="2")
    app.button(key="all-kind-style").click().run()
    assert "after" not in app.query_params


def test_stored_text_is_shown_as_text(registry: Registry, lora_file: Callable[..., Path], open_page: OpenPage) -> None:
    hostile = "<img src=x onerror=alert(1)> ![](http://elsewhere/pixel.png)"
    registry.add(lora_file("hostile"), kind="style", title=hostile, license=hostile, trigger_words=(hostile,))
    app = open_page()
    shown = [link.value for link in app.page_link] + [caption.value for caption in app.caption]
    assert hostile in "".join(shown).replace("\\", "")
    assert not any(re.search(r"(?<!\\)[<\[]", text) for text in shown)
    assert not any(element.proto.allow_html for element in [*app.markdown, *app.caption])


def test_a_damaged_picture_is_said_in_its_place_and_spoils_no_other_card(filled: Registry, open_page: OpenPage) -> None:
    for preview in filled.previews("papercut:1"):
        path = filled.blob_path(preview.picture)
        path.chmod(0o600)
        path.write_bytes(b"")
    app = open_page()
    assert len(app.warning) == 1
    assert len(snippets(app)) == 4


def test_a_composition_shows_the_pictures_of_its_recipe(
    filled: Registry, lora_file: Callable[..., Path], picture: Callable[[int], bytes], open_page: OpenPage
) -> None:
    recipe = filled.add_recipe("1.0*papercut", "1.0*sha256:11", "ab" * 32)
    composed = filled.add(lora_file("sum", 9), kind="composition", recipe=recipe.sha256)
    filled.add_preview(f"recipe:{recipe.sha256}", {"seed": 3}, picture(3), {})
    app = open_page("model.py", ref=composed.ref, section="Pictures")
    assert "seed 3" in [caption.value for caption in app.caption]


def test_a_page_of_cards_asks_the_database_no_more_than_a_single_card_does(
    filled: Registry, picture: Callable[[int], bytes], open_page: OpenPage
) -> None:
    for seed, ref in enumerate(("watercolour:1", "lcm-sd15:1", "papercut-lcm:1"), 10):
        filled.add_preview(ref, {}, picture(seed), {})
    one, several = open_page(state="draft"), open_page(state="published")
    asked: list[str] = []
    event.listen(shared_registry().database.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    counts = []
    for app, cards in ((one, 1), (several, 3)):
        asked.clear()
        app.run()
        assert len(app.image) == cards
        counts.append(len(asked))
    assert counts[0] == counts[1]
