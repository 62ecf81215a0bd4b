"""preview and recall, on a base of the real classes with random weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from typer.testing import Result

Tau = Callable[..., Result]
CIRCLE = "a large red circle on a white background"


def test_a_preview_carries_its_provenance_and_recall_reads_it(painted: Tau, tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    result = painted("preview", "0.5*papercut + lcm", "-p", CIRCLE, "--seed", 7, "--steps", 2, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["path"] == str(out)
    assert document["evaluations"] == 2
    record = json.loads(painted("recall", out, "--json").stdout)["record"]
    assert record == document["pictures"][0]["record"]
    assert (record["recipe"], record["prompt"], record["seed"]) == ("0.5*papercut + lcm", CIRCLE, 7)
    assert record["base"]["name"] == "shapes:1"
    assert [(x["name"], x["weight"]) for x in record["inputs"]] == [("papercut:1", 0.5), ("lcm:1", 1.0)]
    assert record["locked"] in painted("recall", out, "-q").stdout


def test_the_same_settings_paint_the_same_picture_and_every_option_another(painted: Tau, tmp_path: Path) -> None:
    def pixels(name: str, *options: object) -> bytes:
        out = tmp_path / f"{name}.png"
        result = painted("preview", "papercut + lcm", "-p", CIRCLE, "--solver", "ddim", "-o", out, *options)
        assert result.exit_code == 0, result.stderr
        return Image.open(out).tobytes()

    first = pixels("first")
    assert pixels("again") == first
    changes = (("--seed", 1), ("--steps", 3), ("--guidance", 3), ("--spacing", "leading"), ("--eta", 1))
    assert all(pixels(f"changed{i}", *change) != first for i, change in enumerate(changes))


def test_several_pictures_go_to_a_folder_with_a_contact_sheet(painted: Tau, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    prompts = ("-p", CIRCLE, "-p", "a small blue square on a black background")
    result = painted("preview", "papercut + lcm", *prompts, "--seed", 0, "--seed", 1, "--steps", 1, "-o", out, "-q")
    assert len(result.stdout.splitlines()) == 4
    assert (out / "sheet.png").exists()
    assert len(list(out.glob("*seed*.png"))) == 4


def test_a_picture_of_a_version_is_kept_for_the_catalog(painted: Tau, home: Path) -> None:
    from workbench.opening import open_registry

    assert painted("preview", "papercut", "-p", CIRCLE, "--steps", 1).exit_code == 0
    with open_registry(home) as registry:
        assert [preview.settings["prompt"] for preview in registry.previews("papercut:1")] == [CIRCLE]


def test_a_preview_without_acceleration_says_what_would_finish_it(painted: Tau) -> None:
    lcm = ("-p", CIRCLE, "--solver", "lcm", "--steps", 1)
    assert "--solver dpm++" in painted("preview", "papercut", *lcm).stderr
    assert "--solver dpm++" not in painted("preview", "lcm", *lcm).stderr


def test_where_nothing_is_said_the_vectors_own_settings_are_taken(painted: Tau) -> None:
    painted("edit", "lcm", "--sampling", '{"solver": "tcd", "steps": [2], "eta": 0.3}')
    shown = painted("preview", "papercut + lcm", "-p", CIRCLE, "--json")
    assert "made for" not in shown.stderr
    record = json.loads(shown.stdout)["pictures"][0]["record"]
    assert (record["solver"], record["steps"], record["eta"]) == ("tcd", 2, 0.3)
    assert "1 painted with dpm++, steps 25, guidance 7.5" in painted("preview", "papercut", "-p", CIRCLE).stderr


def test_a_picture_size_negative_and_timesteps_can_be_said_and_each_changes_the_picture(
    painted: Tau, tmp_path: Path
) -> None:
    Image.radial_gradient("L").resize((48, 64)).save(tmp_path / "sketch.png")
    fast = ("--solver", "lcm", "--steps", 2, "--guidance", 2)
    variants = (
        (),
        ("--width", 48),
        ("--height", 48),
        ("--negative", "a small blue cross"),
        ("--timesteps", "999,199"),
        ("--original-inference-steps", 3),
        ("--init", tmp_path / "sketch.png"),
        ("--init", tmp_path / "sketch.png", "--init-strength", 0.3),
    )
    seen = set()
    for i, options in enumerate(variants):
        out = tmp_path / f"{i}.png"
        result = painted("preview", "papercut + lcm", "-p", CIRCLE, *fast, *options, "-o", out)
        assert result.exit_code == 0, result.stderr
        with Image.open(out) as picture:
            seen.add((picture.size, picture.tobytes()))
    assert len(seen) == len(variants)
    record = json.loads(painted("recall", tmp_path / "7.png", "--json").stdout)["record"]
    assert (record["width"], record["height"], record["init_strength"]) == (48, 64, 0.3)
    assert record["init"] == hashlib.sha256((tmp_path / "sketch.png").read_bytes()).hexdigest()
    refused = painted("preview", "lcm", "-p", CIRCLE, "--timesteps", "first,second")
    assert (refused.exit_code, "expected whole numbers" in refused.stderr) == (2, True)


def test_settings_that_no_solver_has_are_usage_errors(painted: Tau) -> None:
    unknown = painted("preview", "papercut", "-p", CIRCLE, "--solver", "dpn")
    assert unknown.exit_code == 2
    assert "Did you mean" in unknown.stderr
    assert painted("preview", "papercut", "-p", CIRCLE, "--guidance", 0.5).exit_code == 2


def test_recall_refuses_a_picture_without_a_record(painted: Tau, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert painted("recall", tmp_path / "plain.png").exit_code == 4
    assert painted("recall", tmp_path / "missing.png").exit_code == 3


def test_scopes_and_stages_are_painted_and_what_needs_the_base_is_refused(painted: Tau, tmp_path: Path) -> None:
    def pixels(recipe: str) -> bytes:
        out = tmp_path / "picture.png"
        result = painted("preview", recipe, "-p", CIRCLE, "--solver", "ddim", "--steps", 1, "-o", out)
        assert result.exit_code == 0, result.stderr
        return Image.open(out).tobytes()

    plain = pixels("3*papercut + lcm")
    assert pixels("3*papercut{unet.up: 0} + lcm") != plain
    assert pixels("3*papercut + lcm | rank(1)") != plain
    refused = painted("preview", "ties(papercut, lcm)", "-p", CIRCLE, "--steps", 1)
    assert refused.exit_code == 4
    assert "| rank(64)" in refused.stderr
    (tmp_path / "recipe.txt").write_text("3*papercut  # strong\n + lcm", encoding="utf-8")
    assert pixels(f"@{tmp_path / 'recipe.txt'}") == plain


def test_settings_that_a_vector_is_not_made_for_are_a_hint(painted: Tau) -> None:
    painted("edit", "lcm", "--sampling", '{"solver": "lcm", "steps": [4]}')
    result = painted("preview", "papercut + lcm", "-p", CIRCLE, "--steps", 1, "--json")
    assert "lcm:1 is made for 4 steps, not 1." in result.stderr
    assert "sampling-constraints" in [one["code"] for one in json.loads(result.stdout)["findings"]]
    assert "made for" not in painted("preview", "papercut + lcm", "-p", CIRCLE, "--steps", 4).stderr


def test_device_memory_and_time_are_said_before_painting(painted: Tau) -> None:
    said = [painted("preview", "lcm", "-p", CIRCLE, "--steps", 1, "--seed", 1, "--seed", 2).stderr for _ in range(2)]
    assert "2 pictures of 64x64 on cpu (CPU): " in said[0]
    assert "nothing like it was painted here yet" in said[0]
    assert "free, about " in said[1]


def test_a_device_is_named_for_painting_here(painted: Tau) -> None:
    assert painted("preview", "lcm", "-p", CIRCLE, "--steps", 1, "--device", "cpu").exit_code == 0
    unknown = painted("preview", "lcm", "-p", CIRCLE, "--steps", 1, "--device", "cuda:9")
    assert (unknown.exit_code, "this machine has" in unknown.stderr) == (2, True)
    assert painted("preview", "lcm", "-p", CIRCLE, "--queue", "--device", "cpu").exit_code == 2


def test_a_painters_memory_is_a_size_and_for_painters(tau: Tau) -> None:
    assert tau("worker", "--until-idle", "--lanes", "batch", "--memory", "1G").exit_code == 2
    assert tau("worker", "--until-idle", "--lanes", "interactive", "--memory", "some").exit_code == 2
