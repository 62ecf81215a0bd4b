import re
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry
from ui.web.catalog import PAGE

OpenPage = Callable[..., AppTest]


def titles(app: AppTest) -> list[str]:
    """The links of the cards, in order."""
    return [link.value.strip("*") for link in app.main.page_link]


def snippets(app: AppTest) -> list[str]:
    """The recipe snippets of the cards, in order."""
    return [code.value for code in app.main.code]


def test_an_empty_catalog_says_what_to_do_next(registry: Registry, open_page: OpenPage) -> None:
    app = open_page()
    commands = snippets(app)
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
    for word in ("Style LoRA", "SD 1\\.5", "v1 · published", "\\@production"):
        assert word in badges


def test_a_card_tells_licence_trigger_words_and_strength(filled: Registry, open_page: OpenPage) -> None:
    (terms,) = [caption.value for caption in open_page(q="papercut", kind="style").caption]
    assert terms.replace("\\", "") == "openrail++ · say “papercut”, “layered paper” · strength 0.8"


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


def test_choosing_a_kind_writes_the_kind_and_not_its_label_into_the_url(filled: Registry, open_page: OpenPage) -> None:
    app = open_page()
    app.pills(key="kind").set_value("acceleration").run()
    assert app.query_params["kind"] == "acceleration"
    assert snippets(app) == ["1.0*lcm-sd15:1"]


def test_taking_a_filter_back_takes_it_out_of_the_url(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(kind="acceleration")
    app.pills(key="kind").set_value(None).run()
    assert "kind" not in app.query_params
    assert len(snippets(app)) == 4


def test_words_in_the_url_that_are_no_filter_change_nothing(filled: Registry, open_page: OpenPage) -> None:
    assert len(snippets(open_page(kind="nonsense", family="<b>", after="-1 OR 1=1"))) == 4


def test_a_number_past_every_version_is_an_ordinary_page(filled: Registry, open_page: OpenPage) -> None:
    assert len(snippets(open_page(after="9" * 18))) == 4
    assert len(snippets(open_page(after="9" * 30))) == 4


def test_nothing_found_offers_to_clear_the_question(filled: Registry, open_page: OpenPage) -> None:
    app = open_page(q="no such thing", kind="base")
    assert snippets(app) == []
    app.button[0].click().run()
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
    app.pills(key="kind").set_value("style").run()
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
