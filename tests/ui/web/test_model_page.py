from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from streamlit.testing.v1 import AppTest

from registry import Parent, Registry
from ui.web.describing.ancestry import graph

OpenPage = Callable[..., AppTest]


def words(app: AppTest) -> str:
    """Everything that a page says in Markdown, without the escapes."""
    elements = [*app.title, *app.markdown, *app.caption, *app.text, *app.subheader, *app.info, *app.error]
    return "\n".join(element.value for element in elements).replace("\\", "")


def codes(app: AppTest) -> list[str]:
    """Everything that can be copied."""
    return [code.value for code in app.code]


def rows(app: AppTest) -> list[dict[str, str]]:
    """The rows of every table of the page."""
    return [row for table in app.dataframe for row in table.value.to_dict("records")]


def test_without_a_reference_it_sends_the_reader_to_the_catalog(filled: Registry, open_page: OpenPage) -> None:
    assert "catalog" in words(open_page("model.py"))


def test_an_unknown_name_suggests_the_nearest(filled: Registry, open_page: OpenPage) -> None:
    app = open_page("model.py", ref="papercutt")
    assert "papercutt" in app.error[0].value
    assert "papercut" in [link.value for link in app.page_link]


def test_a_text_that_is_no_reference_is_refused_in_words(filled: Registry, open_page: OpenPage) -> None:
    assert len(open_page("model.py", ref="<script>").error) == 1


@pytest.mark.parametrize("ref", ["papercut", "papercut:1", "papercut@production"])
def test_any_way_to_name_a_version_opens_it(filled: Registry, open_page: OpenPage, ref: str) -> None:
    app = open_page("model.py", ref=ref)
    assert app.title[0].value == "Paper cut"
    assert codes(app)[:2] == ["0.8*papercut:1", "<lora:papercut:0.8>"]


def test_the_facts_stand_beside_their_evidence(filled: Registry, open_page: OpenPage) -> None:
    app = open_page("model.py", ref="papercut")
    facts = filled.get("papercut").facts
    assert facts is not None
    said = words(app)
    for name in ("family", "adapter", "layout"):
        assert f"{facts[name]['confidence']:.0%} sure" in said
        assert all(" ".join(sentence.split()) in said for sentence in facts[name]["evidence"])
    counted = {metric.label: metric.value for metric in app.metric}
    assert (counted["Rank"], counted["Alpha"], counted["Modules"]) == ("2", "1", "16")


def test_mixed_ranks_are_said_to_vary(registry: Registry, mixed_file: Path, open_page: OpenPage) -> None:
    registry.add(mixed_file, kind="style", name="mixed")
    counted = {metric.label: metric.value for metric in open_page("model.py", ref="mixed").metric}
    assert counted["Rank"] == "varies"
    assert "Alpha" in counted


def test_the_files_carry_all_their_hashes(filled: Registry, open_page: OpenPage) -> None:
    version = filled.get("papercut")
    app = open_page("model.py", ref="papercut", section="Files")
    assert version.facts is not None
    hashes = {version.facts["hashes"][name] for name in ("sha256", "blake3", "data_sha256", "tensor_hash")}
    assert {version.digest, *hashes} <= set(codes(app))
    assert [row["SHA-256"] for row in rows(app) if "SHA-256" in row] == [version.artifacts[0].sha256]
    known = {row["hash"]: row["value"] for row in rows(app) if "hash" in row}
    assert known == {"autov2": version.facts["hashes"]["autov2"], **version.facts["hashes"]["short"]}


def test_edges_lead_both_ways_with_their_strengths(filled: Registry, open_page: OpenPage) -> None:
    inward = open_page("model.py", ref="papercut-lcm", section="Lineage")
    linked = [link.value.replace("\\", "") for link in inward.page_link if link.value.startswith("**")]
    assert linked == ["**papercut:1**", "**lcm-sd15:1**"]
    assert "composed from · strength 0.8" in words(inward)
    outward = open_page("model.py", ref="papercut", section="Lineage")
    assert "**papercut-lcm:1**" in [link.value.replace("\\", "") for link in outward.page_link]
    assert "runwayml/stable-diffusion-v1-5" in words(outward)


def test_a_version_without_relatives_says_so(filled: Registry, open_page: OpenPage) -> None:
    assert "No ancestor" in words(open_page("model.py", ref="watercolour", section="Lineage"))


def test_names_cannot_break_out_of_the_lineage_graph(filled: Registry) -> None:
    filled.link("papercut:1", 'external:quote " and \\ and ] -> x [URL="javascript:alert(1)"', "trained_on")
    drawn = graph(filled.lineage("papercut:1"), "papercut:1")
    assert '\\" and \\\\ and ]' in drawn
    assert 'URL="javascript' not in drawn


def test_the_history_of_the_model_is_listed_newest_first(filled: Registry, open_page: OpenPage) -> None:
    listed = rows(open_page("model.py", ref="papercut", section="History"))
    events = filled.history("papercut")
    assert [row["what"] for row in listed] == [f"{event.action} {event.subject}" for event in reversed(events)]
    assert {row["who"] for row in listed} == {"ana"}


def test_the_certificate_is_summed_up(filled: Registry, open_page: OpenPage) -> None:
    app = open_page("model.py", ref="papercut-lcm", section="Certificate")
    shown = {metric.label: metric.value for metric in app.metric}
    assert (shown["Worst arithmetic error"], shown["Modules checked"]) == ("3.1e-08", "12")
    assert "0.8*papercut:1 + 1.0*lcm-sd15:1" in codes(app)
    worst = [row["module"] for row in rows(app) if "module" in row]
    assert (len(worst), worst[0]) == (10, "unet.mid_block.attentions.11.proj_in")


def test_what_a_lowered_rank_left_out_is_shown_where_there_is_any(
    registry: Registry, lora_file: Callable[..., Path], open_page: OpenPage, certificate_of: Callable[[str], dict]
) -> None:
    exact, lowered = (registry.add(lora_file(name, i), kind="composition") for i, name in enumerate(("one", "two")))
    proof = certificate_of(exact.artifacts[0].sha256)
    registry.add_certificate(exact.ref, proof)
    left_out = {name: 0.01 * i for i, name in enumerate(proof["modules"])}
    registry.add_certificate(lowered.ref, {**certificate_of(lowered.artifacts[0].sha256), "approximations": left_out})
    app = open_page("model.py", ref="two", section="Certificate")
    assert "11.0%" in [metric.value for metric in app.metric]
    worst = [row for row in rows(app) if "module" in row]
    assert (worst[0]["module"], worst[0]["approximation error"]) == ("unet.mid_block.attentions.11.proj_in", "1.10e-01")
    app = open_page("model.py", ref="one", section="Certificate")
    assert not [metric for metric in app.metric if metric.label.startswith("Left out")]
    assert not [row for row in rows(app) if "approximation error" in row]


def test_a_composition_without_a_certificate_names_the_command(
    registry: Registry, lora_file: Callable[..., Path], open_page: OpenPage
) -> None:
    registry.add(lora_file("sum"), kind="composition")
    assert "tau verify sum:1" in codes(open_page("model.py", ref="sum", section="Certificate"))


def test_other_versions_of_the_model_are_linked(
    filled: Registry, lora_file: Callable[..., Path], open_page: OpenPage
) -> None:
    filled.add(lora_file("papercut", 7), kind="style")
    assert "v1 · published" in [link.value for link in open_page("model.py", ref="papercut:2").page_link]


def test_the_pictures_carry_their_prompt_and_settings(filled: Registry, open_page: OpenPage) -> None:
    app = open_page("model.py", ref="papercut", section="Pictures")
    assert len(app.image) == 1 + 2
    assert "a large red circle on a white background" in words(app)
    assert "steps 4, seed 2" in words(app)


def test_a_version_without_pictures_names_the_command(filled: Registry, open_page: OpenPage) -> None:
    commands = codes(open_page("model.py", ref="watercolour", section="Pictures"))
    assert any(command.startswith('tau preview "1.0*watercolour:1"') for command in commands)


def keys(app: AppTest) -> set[str]:
    """The keys of the buttons."""
    return {button.key for button in app.button if button.key}


def test_what_is_recommended_is_edited_in_place(filled: Registry, open_page: OpenPage) -> None:
    app, key = open_page("model.py", ref="papercut", edit="true"), f"edit-{filled.get('papercut').id}"
    for name, value in (("recommended_strength", 0.9), ("recommended_low", -0.5), ("recommended_high", 3.5)):
        app.number_input(key=f"{key}-{name}").set_value(value)
    app.text_input(key=f"{key}-trigger_words").set_value("paper, layered paper, ")
    app.text_input(key=f"{key}-title").set_value("Cut paper")
    app.text_input(key=f"{key}-license").set_value("")
    app.text_input(key=f"{key}-note").set_value("a note")
    app.text_area(key=f"{key}-description").set_value("Other words")
    app.checkbox(key=f"{key}-nsfw").check()
    app.button(key="save-particulars").click().run()
    now = filled.get("papercut")
    assert (now.recommended_strength, now.recommended_low, now.recommended_high) == (0.9, -0.5, 3.5)
    assert (now.trigger_words, now.title, now.license) == (("paper", "layered paper"), "Cut paper", None)
    assert (now.note, now.description, now.nsfw) == ("a note", "Other words", True)
    assert "0.9*papercut:1" in codes(app)


def test_what_was_not_touched_is_not_written(filled: Registry, open_page: OpenPage) -> None:
    filled.edit("papercut", changes={"trigger_words": ["one, with a comma"]})
    app, key = open_page("model.py", ref="papercut", edit="true"), f"edit-{filled.get('papercut').id}"
    filled.edit("papercut", changes={"title": "meanwhile"})
    app.number_input(key=f"{key}-recommended_strength").set_value(0.7)
    app.button(key="save-particulars").click().run()
    now = filled.get("papercut")
    assert (now.title, now.recommended_strength, now.trigger_words) == ("meanwhile", 0.7, ("one, with a comma",))


def test_a_refused_edit_says_why(filled: Registry, open_page: OpenPage) -> None:
    app, key = open_page("model.py", ref="papercut", edit="true"), f"edit-{filled.get('papercut').id}"
    app.number_input(key=f"{key}-recommended_low").set_value(2.0)
    app.number_input(key=f"{key}-recommended_high").set_value(1.0)
    app.button(key="save-particulars").click().run()
    assert len(app.error) == 1


def test_a_draft_is_published_then_deprecated_then_archived(filled: Registry, open_page: OpenPage) -> None:
    app, number = open_page("model.py", ref="watercolour:1"), filled.get("watercolour:1").id
    for move, state in (("publish", "published"), ("deprecate", "deprecated"), ("archive", "archived")):
        app.button(key=f"{move}-{number}").click().run()
        assert filled.get("watercolour:1").state == state
    assert f"publish-{number}" in keys(app)
    assert f"archive-{number}" not in keys(app)


def test_publishing_despite_a_licence_needs_a_reason(
    filled: Registry, lora_file: Callable[..., Path], open_page: OpenPage
) -> None:
    filled.add(lora_file("closed", 8), kind="style", license="cc-by-nc-4.0")
    edges = (Parent("closed:1", "composed_from", 1.0, 0),)
    held = filled.add(lora_file("sum", 9), kind="composition", license="mit", edges=edges)
    assert held.state == "draft"
    app = open_page("model.py", ref="sum:1")
    assert "closed:1" in "\n".join(one.value for one in app.warning).replace("\\", "")
    app.button(key=f"publish-{held.id}").click().run()
    assert "contradicts" in words(app)
    app.text_input(key=f"despite-{held.id}").set_value("we have it in writing").run()
    app.button(key=f"publish-{held.id}").click().run()
    assert filled.get("sum:1").state == "published"


def test_an_alias_is_set_moved_and_taken_away(
    filled: Registry, lora_file: Callable[..., Path], open_page: OpenPage
) -> None:
    newer = filled.add(lora_file("papercut", 7), kind="style")
    app = open_page("model.py", ref="papercut:2")
    app.text_input(key=f"alias-{newer.id}").set_value("production").run()
    warned = "\n".join(one.value for one in app.warning).replace("\\", "")
    assert "@production means papercut:1 now, and will mean papercut:2." in warned
    app.button(key="set-alias").click().run()
    assert filled.get("papercut@production").ref == "papercut:2"
    app.button(key="unalias-production").click().run()
    assert filled.get("papercut:2").aliases == ()


def test_a_name_that_no_alias_can_have_is_refused_in_words(filled: Registry, open_page: OpenPage) -> None:
    app, number = open_page("model.py", ref="papercut"), filled.get("papercut").id
    app.text_input(key=f"alias-{number}").set_value("No Alias!").run()
    app.button(key="set-alias").click().run()
    assert "No Alias!" in words(app)


def test_the_licence_report_tells_terms_and_where_they_come_from(filled: Registry, open_page: OpenPage) -> None:
    app = open_page("model.py", ref="papercut-lcm", section="Licence")
    answers = {row["term"]: row["answer"] for row in rows(app) if "term" in row}
    assert answers["derivatives"] == "yes"
    assert "rail" in answers["forbidden uses"]
    assert {"papercut:1": "openrail++", "lcm-sd15:1": "mit"}.items() <= {
        row["of"]: row["licence"] for row in rows(app) if "of" in row
    }.items()


def test_what_fits_is_listed_with_the_reasons(filled: Registry, open_page: OpenPage) -> None:
    said = words(open_page("model.py", ref="papercut", section="Fits"))
    fits = filled.fits("papercut")
    assert all(reason in said for fit in fits for reason in fit.reasons)
    assert fits or "Nothing in this catalog" in said


def test_the_star_and_the_texts_to_copy_are_on_the_page(filled: Registry, open_page: OpenPage) -> None:
    app = open_page("model.py", ref="papercut")
    assert codes(app)[:3] == ["0.8*papercut:1", "<lora:papercut:0.8>", "papercut, layered paper"]
    app.button(key="favourite-papercut:1").click().run()
    assert [one.model for one in filled.search(favourite_of="ana")] == ["papercut"]


def test_a_vector_leads_to_a_recipe_with_it_and_another_file_leads_nowhere(
    filled: Registry, lora_file: Callable[..., Path], open_page: OpenPage
) -> None:
    filled.add(lora_file("unknown", 13), kind="other")
    (link,) = [one for one in open_page("model.py", ref="papercut").page_link if one.value == "Paint with it"]
    (scene,) = dict(parse_qsl(link.proto.query_string)).items()
    assert (scene[0], dict(parse_qsl(scene[1]))) == ("scene", {"recipe": "0.8*papercut:1"})
    assert not [one for one in open_page("model.py", ref="unknown").page_link if one.value == "Paint with it"]
