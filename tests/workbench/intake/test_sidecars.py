"""What other tools leave beside a weight file."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from workbench.intake import scanning, sidecars
from workbench.intake.sidecars import plain_text, read_sidecars

SHA256 = "ab" * 32
CIVITAI = {
    "id": 160130,
    "modelId": 122359,
    "name": "v1.0",
    "baseModel": "SDXL 1.0",
    "trainedWords": ["papercut", "paper art, layered"],
    "description": None,
    "model": {
        "name": "Paper <b>Cut</b>",
        "type": "LORA",
        "nsfw": False,
        "tags": ["style", "paper"],
        "description": "<p>Cut &amp; fold</p><ul><li>one</li><li>two</li></ul><script>alert(1)</script>",
        "allowNoCredit": False,
        "allowCommercialUse": ["Image"],
    },
    "files": [{"name": "papercut.safetensors", "hashes": {"SHA256": SHA256.upper(), "AutoV2": SHA256[:10]}}],
    "downloadUrl": "javascript:alert(1)",
}
MANAGER = {
    "file_name": "papercut",
    "model_name": "My Papercut",
    "sha256": SHA256,
    "notes": "use <lora:papercut:0.8>",
    "usage_tips": json.dumps({"strength": 0.8, "strength_min": 0.6, "strength_max": 1.1}),
    "tags": ["mine"],
    "trainedWords": ["ppct"],
    "civitai": CIVITAI,
}
A1111 = {
    "description": "for posters",
    "sd version": "SDXL",
    "activation text": "papercut, (white, red:1.2)",
    "preferred weight": 0.7,
    "negative text": "blurry",
    "notes": "<lora:papercut:0.7> with a dash",
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The weight file that things lie beside."""
    path = tmp_path / "papercut v1.safetensors"
    path.write_bytes(b"")
    return path


def beside(weights: Path, suffix: str, document: Any) -> Path:
    """A document beside the weight file."""
    path = weights.with_name(f"{weights.stem}{suffix}")
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return path


def test_every_document_that_a_walk_looks_for_has_a_reader() -> None:
    assert len(scanning.SIDECARS) == len(sidecars.READERS)


def test_civitais_answer_is_kept_word_for_word_and_read_as_plain_text(weights: Path) -> None:
    beside(weights, ".civitai.info", CIVITAI)
    (said,) = read_sidecars(weights).statements
    assert (said.service, said.uri) == ("civitai", "https://civitai.com/models/122359?modelVersionId=160130")
    assert said.document == CIVITAI
    offer = said.offer
    assert offer.title == "Paper <b>Cut</b> - v1.0"
    assert offer.description == "Cut & fold\n\none\n\ntwo"
    assert offer.trigger_words == ("papercut", "paper art", "layered")
    assert offer.tags == ("style", "paper")
    assert offer.license_flags == {"allowNoCredit": False, "allowCommercialUse": ["Image"]}
    assert said.is_about(SHA256)
    assert not said.is_about("cd" * 32)


def test_lora_managers_record_has_its_users_words_before_civitais(weights: Path) -> None:
    beside(weights, ".metadata.json", MANAGER)
    (said,) = read_sidecars(weights).statements
    offer = said.offer
    assert (said.service, said.document) == ("lora-manager", MANAGER)
    assert (offer.title, offer.note, offer.tags) == ("My Papercut", "use <lora:papercut:0.8>", ("mine",))
    assert (offer.recommended_strength, offer.recommended_low, offer.recommended_high) == (0.8, 0.6, 1.1)
    assert offer.trigger_words == ("ppct",)
    assert offer.license_flags["allowCommercialUse"] == ["Image"]
    assert said.hashes == {SHA256}


def test_a1111s_card_is_what_a_person_typed(weights: Path) -> None:
    beside(weights, ".json", A1111)
    (said,) = read_sidecars(weights).statements
    assert said.service == "a1111"
    assert said.offer.trigger_words == ("papercut", "(white, red:1.2)")
    assert (said.offer.recommended_strength, said.offer.description) == (0.7, "for posters")
    assert said.offer.note == "<lora:papercut:0.7> with a dash"


def test_a_person_is_heard_before_a_tool_and_a_tool_before_a_service(weights: Path) -> None:
    beside(weights, ".civitai.info", CIVITAI)
    beside(weights, ".metadata.json", MANAGER)
    beside(weights, ".json", A1111)
    assert [said.service for said in read_sidecars(weights).statements] == ["a1111", "lora-manager", "civitai"]


def test_a_weight_of_zero_is_a1111s_way_of_saying_nothing(weights: Path) -> None:
    beside(weights, ".json", {"preferred weight": 0, "activation text": ""})
    (said,) = read_sidecars(weights).statements
    assert (said.offer.recommended_strength, said.offer.trigger_words) == (None, ())


@pytest.mark.parametrize(
    ("suffix", "content", "why"),
    [
        (".json", {"lr": 1e-4}, "no card of A1111's"),
        (".metadata.json", {"format": "pt"}, "no record of LoRA Manager's"),
        (".civitai.info", {"error": "not found"}, "no model version"),
        (".civitai.info", {"id": "1", "model": {"name": "x"}}, "no model version"),
        (".civitai.info", [], "holds list"),
        (".civitai.info", b"<html>", "no JSON"),
        (".civitai.info", b"", "no JSON"),
        (".json", b'{"notes": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "deep"),
        (".json", b'{"notes": "' + b"x" * sidecars.MAX_DOCUMENT_BYTES + b'"}', "bytes, expected at most"),
    ],
)
def test_what_is_no_document_of_its_kind_is_named_and_left(weights: Path, suffix: str, content: Any, why: str) -> None:
    path = beside(weights, suffix, content)
    got = read_sidecars(weights)
    assert got.statements == ()
    assert [(one.path, why in one.reason) for one in got.left] == [(path, True)]


@pytest.mark.parametrize(
    "document",
    [
        {**CIVITAI, "trainedWords": "not a list"},
        {**CIVITAI, "trainedWords": [None, 3, {"x": 1}]},
        {**CIVITAI, "files": {"hashes": 1}},
        {**CIVITAI, "files": [None, {"hashes": {"SHA256": 5}}, {"hashes": None}]},
        {**CIVITAI, "model": {"name": ["x"], "tags": 7, "description": 4}},
        {**CIVITAI, "modelId": "../../evil"},
    ],
)
def test_a_document_with_wrong_types_offers_less_and_breaks_nothing(weights: Path, document: Any) -> None:
    beside(weights, ".civitai.info", document)
    got = read_sidecars(weights)
    assert got.left == ()
    (said,) = got.statements
    assert said.document == document
    assert not said.uri.startswith("javascript")


@pytest.mark.parametrize("tips", ["", "null", "[]", "{", json.dumps({"strength": "a lot"}), None, 3])
def test_usage_tips_that_say_nothing_say_nothing(weights: Path, tips: Any) -> None:
    beside(weights, ".metadata.json", {**MANAGER, "usage_tips": tips})
    (said,) = read_sidecars(weights).statements
    assert said.offer.recommended_strength is None


def test_a_range_is_put_in_order(weights: Path) -> None:
    beside(
        weights, ".metadata.json", {**MANAGER, "usage_tips": json.dumps({"strength_min": 1.2, "strength_max": "0.4"})}
    )
    (said,) = read_sidecars(weights).statements
    assert (said.offer.recommended_low, said.offer.recommended_high) == (0.4, 1.2)


def test_the_first_readable_picture_is_the_preview(weights: Path) -> None:
    for suffix in (".preview.jpg", ".png"):
        Image.new("RGB", (8, 8), "red").save(weights.with_name(f"{weights.stem}{suffix}"))
    broken = beside(weights, ".preview.png", b"\x89PNG not really")
    got = read_sidecars(weights)
    assert got.picture == weights.with_name(f"{weights.stem}.preview.jpg")
    assert [one.path for one in got.left] == [broken]


def test_a_picture_that_would_fill_the_memory_is_left(weights: Path, tmp_path: Path) -> None:
    huge = weights.with_name(f"{weights.stem}.preview.png")
    Image.new("1", (10_000, 7_000)).save(huge)
    got = read_sidecars(weights)
    assert got.picture is None
    assert "10000 x 7000" in got.left[0].reason


@pytest.mark.parametrize("suffix", [".preview.png", ".webp"])
def test_a_script_that_is_called_a_picture_is_left(weights: Path, suffix: str) -> None:
    beside(weights, suffix, b"<svg onload='alert(1)'/>")
    got = read_sidecars(weights)
    assert (got.picture, len(got.left)) == (None, 1)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<style>p {}</style>x<script>alert('</p>')</script>", "x"),
        ("<img src=x onerror=alert(1)>y", "y"),
        ("1 &lt; 2 &amp; 3", "1 < 2 & 3"),
        ("<a href='javascript:alert(1)'>link</a>", "link"),
        ("<p>unclosed <b>bold", "unclosed bold"),
        ("<![CDATA[x]]><!-- c -->y", "y"),
    ],
)
def test_html_becomes_its_text(html: str, text: str) -> None:
    assert plain_text(html) == text
