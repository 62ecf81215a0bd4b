from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry
from ui.web.composing.terms import band, band_words
from workbench.intake.importing import import_file
from workbench.jobs.queueing import queue_of

OpenPage = Callable[..., AppTest]
Work = Callable[[], None]
BOTH = "0.8*soft:1 + fast:1"


def recipe(app: AppTest) -> str:
    """What the field says; the URL says the same."""
    text = str(app.text_area(key="compose-recipe").value)
    assert app.query_params.get("recipe", [""])[0] == text or app.query_params.get("recipe", "") == text
    return text


def said(app: AppTest, name: str) -> Any:
    """A parameter of the URL, a list where it has several values."""
    value = app.query_params.get(name)
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def sliders(app: AppTest) -> dict[str, float]:
    return {str(slider.key): slider.value for slider in app.slider}


def words(app: AppTest) -> str:
    """Everything that the page says in Markdown, without the escapes."""
    elements = [*app.title, *app.markdown, *app.caption, *app.info, *app.error, *app.warning, *app.success]
    return "\n".join(element.value for element in elements).replace("\\", "")


def codes(app: AppTest) -> list[str]:
    return [code.value for code in app.code]


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception
    return app


def test_a_slider_rewrites_the_recipe_and_the_recipe_moves_the_sliders(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH)
    assert sliders(app).items() >= {"strength-0": 0.8, "strength-1": 1.0}.items()
    app.slider(key="strength-0").set_value(0.35).run()
    assert recipe(app) == "0.35*soft:1 + fast:1"
    app.text_area(key="compose-recipe").set_value("-0.5*hard + soft").run()
    assert (sliders(app)["strength-0"], sliders(app)["strength-1"]) == (-0.5, 1.0)
    assert recipe(app) == "-0.5*hard + soft"


def test_every_slider_and_every_way_to_remove_has_a_name_of_its_own(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe="soft + fast + 0.5*nobody")
    labels = [slider.label for slider in app.slider]
    assert {"Strength of soft:1", "Middle block of soft:1", "Strength of fast:1", "Strength of term 3"} <= set(labels)
    removes = [(one.label, one.help) for one in app.button if str(one.key).startswith("remove-")]
    assert removes[0] == ("Remove term 1", "Take soft:1 out of the recipe")
    assert len(set(labels)) == len(labels)
    assert len({label for label, _ in removes}) == len(removes) == 3


def test_what_sliders_cannot_show_stays_text_and_is_never_clamped(studio: Registry, open_page: OpenPage) -> None:
    text = "3.5*soft{/to_q/: 1.2} + ties(0.7*hard, fast) + 0.123456*fast | rank(4)"
    app = open_page("compose.py", recipe=text)
    assert "strength-0" not in sliders(app)
    assert sliders(app)["strength-2"] == 0.123456
    assert recipe(app) == text
    said = words(app)
    assert "3.5" in said
    assert "{/to_q/: 1.2}" in said
    assert "ties(0.7*hard, fast)" in said
    app.slider(key="strength-1").set_value(0.5).run()
    assert recipe(app) == "3.5*soft{/to_q/: 1.2} + 0.5*ties(0.7*hard, fast) + 0.123456*fast | rank(4)"


def test_block_strengths_are_a_scope_of_the_recipe(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH)
    assert [key for key in sliders(app) if key.startswith("part-0")] == ["part-0-unet.mid"]
    app.slider(key="part-0-unet.mid").set_value(0.25).run()
    assert recipe(app) == "0.8*soft:1{unet.mid: 0.25} + fast:1"
    app.slider(key="part-0-unet.mid").set_value(1.0).run()
    assert recipe(app) == BOTH
    app = open_page("compose.py", recipe="soft{unet.mid: 7}")
    assert "part-0-unet.mid" not in sliders(app)
    assert "7" in words(app)


def test_what_fits_is_searched_added_at_its_strength_and_taken_out_again(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py")
    assert {button.key for button in app.button if str(button.key).startswith("add-")} == {
        "add-soft:1",
        "add-hard:1",
        "add-fast:1",
    }
    app.text_input(key="compose-search").set_value("kind:acceleration").run()
    assert [button.key for button in app.button if str(button.key).startswith("add-")] == ["add-fast:1"]
    press(app, "add-fast:1")
    app.text_input(key="compose-search").set_value("").run()
    press(app, "add-soft:1")
    assert recipe(app) == "fast:1 + 0.8*soft:1"
    assert recipe(press(app, "remove-0")) == "0.8*soft:1"
    app.text_input(key="compose-search").set_value("kind:").run()
    assert not app.exception


def test_the_only_base_is_chosen_and_several_are_for_the_visitor(
    studio: Registry, open_page: OpenPage, tmp_path: Path
) -> None:
    assert open_page("compose.py").selectbox(key="compose-base").value == "tiny:1"
    folder = tmp_path / "base"
    (folder / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel", "_note": "two"}')
    import_file(studio, folder, name="tinier")
    app = open_page("compose.py", recipe="soft")
    assert app.selectbox(key="compose-base").value is None
    assert app.button(key="paint").disabled
    app.selectbox(key="compose-base").set_value("tinier:1").run()
    assert said(app, "base") == "tinier:1"
    assert not app.button(key="paint").disabled
    app.text_area(key="compose-recipe").set_value("tiny + soft").run()
    assert app.selectbox(key="compose-base").value == "tiny:1"
    app.selectbox(key="compose-base").set_value("tinier:1").run()
    assert recipe(app) == "tinier:1 + soft"


def test_a_recipe_that_cannot_be_read_shows_its_place_and_loses_nothing(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe="0.8*soft +")
    assert any("^" in code for code in codes(app))
    assert app.button(key="paint").disabled
    assert all(button.disabled for button in app.button if str(button.key).startswith("add-"))
    assert recipe(app) == "0.8*soft +"


def test_an_unknown_name_leaves_the_sliders_of_the_others(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe="0.8*soft + sotf")
    assert "soft" in words(app)
    app.slider(key="strength-0").set_value(0.5).run()
    assert recipe(app) == "0.5*soft + sotf"


def test_a_file_of_the_server_is_not_opened(studio: Registry, open_page: OpenPage) -> None:
    assert "is a path" in words(open_page("compose.py", recipe="/etc/passwd"))


def test_a_sum_that_is_refused_cannot_be_painted_or_saved(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe="soft - soft")
    assert len(app.error) >= 1
    assert app.button(key="paint").disabled
    assert [button.disabled for button in app.button if button.label == "Save"] == [True]
    assert "nothing speaks against it" in words(open_page("compose.py", recipe="soft"))


def test_warnings_come_before_anything_is_painted(studio: Registry, open_page: OpenPage) -> None:
    studio.edit("fast", changes={"sampling": {"solver": "lcm", "steps": [2, 4]}})
    assert not open_page("compose.py", recipe=BOTH).warning
    assert "fast:1 is made for" in words(open_page("compose.py", recipe=BOTH, solver="ddim"))


def test_trigger_words_are_switches_of_the_prompt(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH, prompt="a fox, mist")
    assert app.pills(key="compose-words").value == ["mist"]
    app.pills(key="compose-words").set_value(["mist", "soft edges"]).run()
    assert said(app, "prompt") == "a fox, mist, soft edges"
    app.pills(key="compose-words").set_value([]).run()
    assert app.text_area(key="compose-prompt").value == "a fox"


def test_the_recommended_band_is_shown_at_its_slider(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH)
    assert "Recommended: 0.8, between 0.6 and 1.1" in words(app)
    assert band_words(None, 1.5, None) == "up to 1.5"
    assert band_words(0.5, None, 1.0) == "1, from 0.5"
    assert band(0.5, 1.0, None) != band(0.5, 1.1, None) != band(0.5, 1.1, 0.8)
    assert 'x="300.0"' in band(0.5, 9.0, None)


def test_how_two_vectors_meet_is_compared_when_somebody_asks(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe="soft + 2*fast")
    assert "cosine" not in words(app)
    app.toggle(key="compose-meet").set_value(True).run()
    assert said(app, "meet") == "1"
    assert "**soft:1** and **fast:1**" in words(app)
    [table] = app.dataframe
    assert {"block", "both act in", "soft:1", "fast:1", "cosine"} == set(table.value.columns)
    norms = table.value["fast:1"]
    app.slider(key="strength-1").set_value(1.0).run()
    assert list(app.dataframe[0].value["fast:1"] * 2) == pytest.approx(list(norms), abs=1e-3)


def test_how_to_paint_is_as_recommended_until_the_url_says_otherwise(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe="soft")
    assert app.selectbox(key="compose-solver").value == "dpm++"
    app = open_page("compose.py", recipe=BOTH)
    assert (app.selectbox(key="compose-solver").value, app.number_input(key="compose-steps").value) == ("lcm", 4)
    app.number_input(key="compose-steps").set_value(8).run()
    app.selectbox(key="compose-solver").set_value("ddim").run()
    app.number_input(key="compose-guidance").set_value(7.5).run()
    assert (said(app, "solver"), said(app, "steps"), said(app, "guidance")) == ("ddim", "8", "7.5")
    assert "16 U-Net evaluations" in words(app)
    [reset] = [button for button in app.button if button.label == "As recommended"]
    reset.click().run()
    assert said(app, "solver") is None
    assert app.number_input(key="compose-steps").value == 4


def test_nonsense_in_the_url_is_an_ordinary_page(studio: Registry, open_page: OpenPage) -> None:
    app = open_page(
        "compose.py", recipe=BOTH, seed="-1; drop", job="<b>", steps="9e9", guidance="nan", solver="magic", save="x"
    )
    assert app.number_input(key="compose-seed").value == 0
    assert not open_page("compose.py", recipe=BOTH, job="999").exception
    app = open_page("compose.py", scene="embed=true&colour=red&scene=x&recipe=soft&recipe=hard")
    assert set(app.query_params) == {"recipe"}


def test_names_and_words_of_others_are_shown_as_text(studio: Registry, open_page: OpenPage) -> None:
    hostile = "<img src=x onerror=alert(1)> [link](javascript:alert(1))"
    studio.edit("soft", changes={"title": hostile, "trigger_words": [hostile]})
    app = open_page("compose.py", recipe=BOTH)
    shown = [*(link.value for link in app.page_link), *(one.value for one in [*app.markdown, *app.caption])]
    assert any("onerror" in text for text in shown)
    assert not any("<img" in text.replace("\\<", "") or "[link]" in text for text in shown)
    assert not any(element.proto.allow_html for element in [*app.markdown, *app.caption])


def test_a_painting_is_followed_by_its_number_in_the_url_from_any_browser(
    studio: Registry, open_page: OpenPage
) -> None:
    app = press(open_page("compose.py", recipe=BOTH, prompt="a fox", seed="7"), "paint")
    queue = queue_of(studio)
    [job] = queue.list(kind="preview")
    assert said(app, "job") == str(job.id)
    assert (job.spec["recipe"], job.spec["prompts"], job.spec["seeds"]) == (BOTH, ["a fox"], [7])
    elsewhere = open_page("compose.py", recipe=BOTH, prompt="a fox", seed="7", job=str(job.id))
    assert "Painted earlier" not in words(elsewhere)
    press(elsewhere, "cancel-painting")
    assert queue.get(job.id).state == "cancelled"
    assert "cancelled" in words(app.run())


def test_every_change_is_painted_only_while_the_visitor_wishes_it(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH, prompt="a fox")
    queue = queue_of(studio)
    assert queue.list() == []
    app.toggle(key="compose-live").set_value(False).run()
    app.slider(key="strength-0").set_value(0.5).run()
    assert queue.list() == []
    app.toggle(key="compose-live").set_value(True).run()
    app.slider(key="strength-0").set_value(0.6).run()
    [first] = queue.list()
    app.slider(key="strength-0").set_value(0.7).run()
    states = {job.spec["recipe"]: job.state for job in queue.list()}
    assert states == {"0.6*soft:1 + fast:1": "cancelled", "0.7*soft:1 + fast:1": "queued"}
    assert said(app, "job") != str(first.id)


def test_two_people_at_the_same_address_do_not_disturb_each_other(studio: Registry, open_page: OpenPage) -> None:
    ana = press(open_page("compose.py", recipe=BOTH, prompt="a fox"), "paint")
    ben = open_page("compose.py", recipe=BOTH, prompt="a fox", job=str(said(ana, "job")))
    ben.slider(key="strength-0").set_value(0.3).run()
    states = {job.spec["recipe"]: job.state for job in queue_of(studio).list()}
    assert states == {BOTH: "queued", "0.3*soft:1 + fast:1": "queued"}
    assert recipe(ana.run()) == BOTH


def test_beside_it_stand_slow_solvers_at_the_same_cost(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH, prompt="a fox")
    app.toggle(key="compose-beside").set_value(True).run()
    specs = [job.spec for job in sorted(queue_of(studio).list(), key=lambda job: job.id)]
    found = [(spec["recipe"], spec["solver"], spec["steps"], spec["guidance"]) for spec in specs]
    assert found == [(BOTH, "lcm", 4, 1.0), ("0.8*soft:1", "ddim", 2, 7.5), ("0.8*soft:1", "dpm++", 2, 7.5)]
    assert len(said(app, "rival")) == 2
    assert {"DDIM, job 2", "DPM-Solver++, job 3"} <= set(words(app).split("\n"))


def test_a_composition_is_saved_by_a_worker_and_the_url_says_which(
    studio: Registry, open_page: OpenPage, work: Work
) -> None:
    app = open_page("compose.py", recipe=BOTH)
    app.text_input(key="compose-name").set_value("dawn")
    app.toggle(key="compose-draft").set_value(True)
    [save] = [button for button in app.button if button.label == "Save"]
    save.click().run()
    assert "Waiting for a worker" in str(app.get("progress")[0].proto)
    work()
    again = open_page("compose.py", recipe=BOTH, save=str(said(app, "save")))
    assert "Saved and proved" in words(again)
    assert "**dawn:1**" in [link.value.replace("\\", "") for link in again.page_link]
    assert studio.get("dawn:1").state == "draft"


def test_a_name_that_is_taken_is_refused_on_the_page(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH)
    app.text_input(key="compose-name").set_value("soft")
    [save] = [button for button in app.button if button.label == "Save"]
    save.click().run()
    assert "of kind style" in words(app)
    assert queue_of(studio).list() == []


def test_the_copied_link_pins_versions_and_opens_the_same_page(studio: Registry, open_page: OpenPage) -> None:
    studio.alias("soft:1", "production")
    app = open_page("compose.py", recipe="0.8*soft@production + fast", prompt="a fox & a hen", seed="3", steps="8")
    link = codes(app)[0]
    assert "%26" in link
    assert " " not in link
    parameters = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    assert parameters == {
        "recipe": BOTH,
        "base": "tiny:1",
        "prompt": "a fox & a hen",
        "seed": "3",
        "steps": "8",
    }
    again = open_page("compose.py", **parameters)
    assert codes(again)[0] == link
    app.toggle(key="compose-aliases").set_value(True).run()
    assert codes(app)[1] == "0.8*soft@production + fast:1"
    assert any(code.startswith("tau preview ") for code in codes(app))
    assert any(code.startswith("tau compose ") for code in codes(app))
    assert any("from tauworks import" in code for code in codes(app))


def test_a_link_may_say_everything_in_one_and_leads_on_to_grid_and_compare(
    studio: Registry, open_page: OpenPage
) -> None:
    app = open_page("compose.py", scene=urlencode({"recipe": BOTH, "prompt": "a fox & a hen", "seed": "3"}))
    assert (recipe(app), said(app, "prompt"), said(app, "seed")) == (BOTH, "a fox & a hen", "3")
    assert "scene" not in app.query_params
    links = {link.label: parse_qs(link.proto.query_string) for link in app.page_link}
    assert links["Grid of strengths"]["recipe"] == [BOTH]
    assert parse_qs(links["Compare"]["scene"][0])["recipe"] == [BOTH, BOTH]


def test_who_comes_back_to_the_page_finds_it_as_it_was(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH, prompt="a fox")
    app.query_params = {}
    app.switch_page("catalog.py").run()
    app.query_params = {}
    app.switch_page("compose.py").run()
    assert (recipe(app), said(app, "prompt")) == (BOTH, "a fox")


def test_an_empty_registry_says_where_to_begin(registry: Registry, open_page: OpenPage) -> None:
    assert "Nothing to compose yet" in "".join(one.value for one in open_page("compose.py").subheader)
