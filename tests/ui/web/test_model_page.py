from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry
from ui.web.ancestry import graph

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
    assert [row["SHA-256"] for row in rows(app)] == [version.artifacts[0].sha256]


def test_edges_lead_both_ways_with_their_strengths(filled: Registry, open_page: OpenPage) -> None:
    inward = open_page("model.py", ref="papercut-lcm", section="Lineage")
    assert [link.value.replace("\\", "") for link in inward.page_link][1:] == ["**papercut:1**", "**lcm-sd15:1**"]
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
