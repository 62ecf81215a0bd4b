"""The main job in its short form: one seed, 144 pictures a row."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from formats import Identification
from registry import Registry
from sampling import paired_bootstrap
from workbench.demo.evaluation import Score
from workbench.demo.story import ACCELERATION, BASE, STYLES, DemoResult, demo, empty
from workbench.errors import NotADemo


class Notebook:
    """A narrator that writes down what it is told."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        self.pictures: list[Path] = []

    def chapter(self, title: str) -> None:
        self.say(title)

    def say(self, text: str) -> None:
        self.text.write(f"{text}\n")

    def identified(self, name: str, found: Identification) -> None:
        self.say(f"{name}: {found.layout.value}: {found.layout.evidence[0]}")

    def picture(self, path: Path, title: str) -> None:
        self.pictures.append(path)
        self.say(title)

    def count(self, done: int, total: int, note: str) -> None:
        self.say(f"{done}/{total} {note}")

    def table(self, scores: Sequence[Score]) -> None:
        self.say(f"{len(scores)} rows")


@pytest.fixture(scope="module")
def told() -> Notebook:
    return Notebook()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, told: Notebook) -> Iterator[DemoResult]:
    return demo(told, home=tmp_path_factory.mktemp("home") / "demo")


def rows(result: DemoResult, role: str, style: str) -> dict[int, list[Score]]:
    found: dict[int, list[Score]] = {}
    for score in result.table:
        if score.contender.role == role and score.style == style:
            found.setdefault(score.contender.evaluations, []).append(score)
    return found


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("evaluations", [1, 2, 4])
def test_the_composition_beats_the_tuned_classical_solvers(result: DemoResult, style: str, evaluations: int) -> None:
    (ours,) = rows(result, "composition", style)[evaluations]
    best = max(rows(result, "baseline", style)[evaluations], key=lambda score: score.joint_accuracy)
    assert paired_bootstrap(ours.right, best.right, seed=0).low > 0


@pytest.mark.parametrize("style", STYLES)
def test_four_steps_come_near_the_teachers_hundred_evaluations(result: DemoResult, style: str) -> None:
    (teacher,) = rows(result, "teacher", style)[100]
    (ours,) = rows(result, "composition", style)[4]
    assert ours.joint_accuracy >= 0.8 * teacher.joint_accuracy


def test_the_table_holds_every_role_over_144_pictures(result: DemoResult) -> None:
    assert {score.contender.role for score in result.table} == {
        "teacher",
        "composition",
        "acceleration",
        "baseline",
    }
    assert {len(score.right) for score in result.table} == {144}
    for score in result.table:
        needs_fresh_noise = score.contender.solver == "lcm" and score.contender.steps > 1
        assert (score.endpoint_error is None) == (needs_fresh_noise or score.contender.role == "acceleration")


def test_every_composition_is_certified_to_a_millionth(result: DemoResult) -> None:
    assert result.certificate["worst_relative_error"] < 1e-6
    assert f"{BASE}:1" in result.versions
    assert {f"{style}-fast:1" for style in STYLES} <= set(result.versions)


def test_the_story_names_the_evidence_and_what_other_tools_would_have_made(result: DemoResult, told: Notebook) -> None:
    text = told.text.getvalue()
    assert "outline-kohya.safetensors: kohya" in text
    assert "stripes-peft: peft" in text
    assert "glow-diffusers.safetensors: diffusers" in text
    assert text.count("of the true sum's norm") >= 2
    assert "rank" in text
    assert any(path.name == "strip.png" for path in told.pictures)


def test_the_lineage_leads_from_a_composition_to_base_data_and_job(result: DemoResult) -> None:
    with Registry.open(result.home) as registry:
        lineage = registry.lineage(f"{STYLES[0]}-fast")
    kinds = {node.kind for node in lineage.nodes}
    assert {"composition", "style", "acceleration", "base", "dataset", "job"} <= kinds
    weights = {edge.parent: edge.weight for edge in lineage.edges if edge.relation == "composed_from"}
    assert set(weights) == {f"{STYLES[0]}:1", f"{ACCELERATION}:1"}


def test_the_report_is_one_file_with_its_pictures_inside(result: DemoResult) -> None:
    text = result.report.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "<svg" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    for command in result.commands:
        assert command.split('"')[0].strip() in text


def test_the_sheets_are_pictures(result: DemoResult) -> None:
    for path in (result.home / "pictures").glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 200


def test_the_document_is_json_with_the_promised_fields(result: DemoResult) -> None:
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    promised = {
        "role",
        "style",
        "seed",
        "recipe",
        "solver",
        "steps",
        "evaluations",
        "attribute_accuracy",
        "style_accuracy",
        "joint_accuracy",
        "endpoint_error",
        "seconds",
    }
    assert promised <= set(document["table"][0])
    assert {"table", "certificate", "versions", "report"} <= set(document)


def test_a_second_run_finds_what_the_first_one_made(result: DemoResult, told: Notebook) -> None:
    again = Notebook()
    second = demo(again, home=result.home)
    assert ": lcd-lora, " in told.text.getvalue()
    assert ": lcd-lora, " not in again.text.getvalue()
    assert second.table == result.table
    assert second.versions == result.versions
    with Registry.open(result.home) as registry:
        assert len(registry.search()) == len(result.versions)


def test_fresh_refuses_a_folder_that_the_demo_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(NotADemo, match="was not made by the demo"):
        empty(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
