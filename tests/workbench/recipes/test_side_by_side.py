from pathlib import Path
from typing import Any

import pytest

from registry import Registry
from workbench.painting.rivals import evaluations, rivals
from workbench.recipes.drafts import read_draft
from workbench.recipes.side_by_side import side_by_side


@pytest.fixture
def pair(stocked: Registry, lora: Any, tmp_path: Path) -> Registry:
    """The style `soft`, the acceleration `fast`, and another style, `hard`, under a licence."""
    (tmp_path / "hard.safetensors").write_bytes(lora(7))
    stocked.add(tmp_path / "hard.safetensors", kind="style", name="hard", license="mit", trigger_words=("ink",))
    return stocked


def test_every_field_of_the_sums_stands_beside_that_of_the_others(pair: Registry) -> None:
    texts = ("0.8*soft + fast", "0.5*soft{unet.mid: 0.5} + fast | rank(2)", "hard + soft", "soft -")
    rows = {row.field: row for row in side_by_side([read_draft(pair, text) for text in texts])}
    values = {field: row.values for field, row in rows.items()}
    assert values["recipe"] == ("0.8*soft + fast", texts[1], "hard + soft", "soft -")
    assert values["base"] == ("tiny:1", "tiny:1", "tiny:1", "-")
    assert values["stages"] == ("-", "rank(2)", "-", "-")
    assert values["soft: strength"] == ("0.8", "0.5", "1", "-")
    assert values["soft: middle block"] == ("-", "0.5 times", "-", "-")
    assert values["hard: licence"] == ("-", "-", "mit", "-")
    assert values["solver"] == ("lcm", "lcm", "dpm++", "lcm")
    assert values["U-Net evaluations"][:3] == ("4", "4", "50")
    assert values["trigger words"] == ("-", "-", "ink", "-")
    assert values["errors"][3] != "-"
    assert rows["soft: version"].values[:3] == ("1", "1", "1")


def test_fields_that_are_alike_do_not_differ(pair: Registry) -> None:
    one, other = read_draft(pair, "0.8*soft + fast"), read_draft(pair, "0.5*soft + fast")
    differing = {row.field for row in side_by_side([one, other]) if row.differs}
    assert {"recipe", "locked recipe", "soft: strength"} <= differing
    assert not {"base", "solver", "fast: strength"} & differing
    assert not any(row.differs for row in side_by_side([one, one]))


def test_a_model_that_stands_twice_has_both_strengths(pair: Registry) -> None:
    rows = {row.field: row.values for row in side_by_side([read_draft(pair, "0.8*hard + fast + 0.1*hard")])}
    assert rows["hard: strength"] == ("0.8 and 0.1",)


@pytest.mark.parametrize(("text", "slow"), [("0.8*soft + fast", "0.8*soft"), ("fast", "tiny:1"), ("soft", "soft")])
def test_rivals_paint_the_sum_without_its_accelerations(text: str, slow: str, pair: Registry) -> None:
    draft = read_draft(pair, text)
    assert {rival.recipe for rival in rivals(draft, draft.sampling)} == {slow}


@pytest.mark.parametrize("said", [{"steps": 4}, {"steps": 3}, {"steps": 2, "guidance": 2.0}, {"steps": 1}])
def test_rivals_cost_as_many_evaluations(said: dict[str, Any], pair: Registry) -> None:
    draft = read_draft(pair, "soft + fast", said=said)
    found = rivals(draft, draft.sampling)
    assert [rival.title for rival in found] == ["DDIM", "DPM-Solver++"]
    assert {evaluations(rival.sampling) for rival in found} == {evaluations(draft.sampling)}
