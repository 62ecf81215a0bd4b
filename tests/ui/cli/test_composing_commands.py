"""check, compose, verify."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import Result

Tau = Callable[..., Result]


def delta(folder: Path, name: str) -> torch.Tensor:
    """alpha / r * up @ down of the cross-attention key projection of a kohya file, float64."""
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    stored = {key: value.double() for key, value in load_file(folder / name).items() if key.startswith(stem)}
    down, up, alpha = (stored[f"{stem}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
    return alpha / down.shape[0] * up @ down


def test_a_composition_is_the_sum_and_is_certified_and_registered(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    result = tau("compose", "0.8*papercut + lcm", "--name", "both", "-o", tmp_path / "both.safetensors", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["version"]["ref"] == "both:1"
    assert document["certificate"]["worst_relative_error"] < 1e-6
    assert document["certificate"]["locked"].count("sha256:") == 2
    expected = 0.8 * delta(stocked, "papercut.safetensors") + delta(stocked, "lcm.safetensors")
    assert torch.allclose(delta(tmp_path, "both.safetensors"), expected, rtol=1e-5, atol=1e-6)
    assert (tmp_path / "both.safetensors.certificate.json").exists()


def test_out_alone_writes_a_file_and_registers_nothing(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    before = tau("ls", "-q").stdout
    result = tau("compose", "papercut + lcm", "-o", tmp_path / "sum.safetensors", "-q")
    assert result.stdout == f"{tmp_path / 'sum.safetensors'}\n"
    assert tau("ls", "-q").stdout == before


def test_without_a_name_a_composition_is_called_after_its_terms(tau: Tau, stocked: Path) -> None:
    assert tau("compose", "papercut + lcm", "--draft", "-q").stdout == "papercut-lcm:1\n"
    assert tau("ls", "-q", "--state", "draft").stdout == "papercut-lcm:1\n"
    assert tau("compose", "papercut + lcm", "-q").stdout == "papercut-lcm:1\n"
    assert tau("compose", "tiny + 0.5*papercut", "-q").stdout == "papercut-composed:1\n"


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "peft"])
def test_every_layout_can_be_verified_by_name_and_by_file(tau: Tau, stocked: Path, tmp_path: Path, layout: str) -> None:
    out = tmp_path / "sum"
    assert tau("compose", "papercut - 0.25*lcm", "--name", "sum", "-o", out, "--format", layout).exit_code == 0
    by_name, by_file = tau("verify", "sum", "--json"), tau("verify", out, "--json")
    assert by_name.exit_code == by_file.exit_code == 0, by_name.stderr + by_file.stderr
    assert json.loads(by_name.stdout)["certificate"]["layout"] == layout
    assert (
        json.loads(by_name.stdout)["certificate"]["file_sha256"]
        == json.loads(by_file.stdout)["certificate"]["file_sha256"]
    )


def test_dtype_is_sugar_for_the_stage(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    option = tau("compose", "papercut + lcm", "-o", tmp_path / "a.safetensors", "--dtype", "fp16", "--json")
    stage = tau("compose", "papercut + lcm | dtype(fp16)", "-o", tmp_path / "b.safetensors", "--json")
    documents = [json.loads(result.stdout) for result in (option, stage)]
    assert documents[0]["report"]["recipe"] == documents[1]["report"]["recipe"] == "papercut + lcm | dtype(fp16)"
    assert documents[0]["certificate"]["file_sha256"] == documents[1]["certificate"]["file_sha256"]
    assert documents[0]["certificate"]["dtype"] == "fp16"
    both = tau("compose", "papercut + lcm | dtype(fp16)", "--dtype", "bf16")
    assert both.exit_code == 2
    assert "keep one" in both.stderr


def test_a_leading_minus_stands_in_quotes_or_after_two_dashes(tau: Tau, stocked: Path) -> None:
    for arguments in (("-0.3*papercut + lcm",), ("--", "-papercut + lcm"), ("-papercut + lcm", "--base", "tiny")):
        result = tau("check", "--json", *arguments)
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["recipe"].startswith("-")
    assert tau("check", "-0").exit_code == 2


def test_vectors_at_paths_need_no_import(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    recipe, out = f"0.5*{stocked / 'papercut.safetensors'} + lcm", tmp_path / "sum.safetensors"
    assert tau("compose", recipe, "-o", out).exit_code == 0
    assert tau("verify", out).exit_code == 0


def test_verify_refuses_when_the_file_at_a_path_has_changed(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "mine.safetensors", tmp_path / "sum.safetensors"
    other = stocked / "lcm.safetensors"
    tau("compose", f"{other} - 0.5*papercut", "-o", copy)
    assert tau("compose", f"0.5*{copy} + lcm", "-o", out).exit_code == 0
    copy.write_bytes(other.read_bytes())
    result = tau("verify", out)
    assert result.exit_code == 4
    assert "put the old file back" in result.stderr


def test_verify_refuses_a_file_whose_tensors_were_edited(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    out = tmp_path / "sum.safetensors"
    tau("compose", "papercut + lcm", "-o", out)
    edited = bytearray(out.read_bytes())
    edited[-3:] = b"\x3f\x80\x3f"
    out.write_bytes(edited)
    assert tau("verify", out).exit_code == 4


def test_verify_refuses_a_version_whose_stored_bytes_were_edited(tau: Tau, stocked: Path, home: Path) -> None:
    version = json.loads(tau("compose", "papercut + lcm", "--json").stdout)["version"]
    sha256 = version["artifacts"][0]["sha256"]
    blob = home / "blobs" / sha256[:2] / sha256
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b'"modelspec.title":"p', b'"modelspec.title":"q'))
    result = tau("verify", version["ref"])
    assert result.exit_code == 4
    assert sha256 in result.stderr


def test_verify_of_what_was_never_composed_is_not_found(tau: Tau, stocked: Path) -> None:
    result = tau("verify", "papercut")
    assert result.exit_code == 3
    assert "--recipe" in result.stderr


def test_check_tells_what_other_tools_would_have_made(tau: Tau, stocked: Path) -> None:
    document = json.loads(tau("check", "0.8*papercut + lcm", "--json").stdout)
    assert document["ok"]
    assert document["base"] == "tiny:1"
    assert document["dialects"]["peft-linear"]["refusal"]
    assert document["dialects"]["kohya-concat"]["relative_error"] > 0.01
    assert "rank-growth" in tau("check", "0.8*papercut + lcm", "-q").stdout.split()


def test_check_judges_for_the_base_that_is_named(tau: Tau, stocked: Path, files: Path) -> None:
    tau("import", files / "base", "--name", "twin")
    assert json.loads(tau("check", "papercut", "--json").stdout)["base"] is None
    assert json.loads(tau("check", "papercut", "--base", "twin", "--json").stdout)["base"] == "twin:1"
    assert json.loads(tau("check", "twin + papercut", "--json").stdout)["base"] == "twin:1"


def test_two_bases_or_a_scaled_one_are_a_usage_error(tau: Tau, stocked: Path, files: Path) -> None:
    tau("import", files / "base", "--name", "twin")
    for arguments in (("0.5*tiny + papercut",), ("tiny + twin + papercut",), ("tiny + papercut", "--base", "twin")):
        assert tau("check", *arguments).exit_code == 2
    assert tau("check", "papercut", "--base", "lcm").exit_code == 2
    assert tau("check", "tiny").exit_code == 2


def document(result: Result) -> Any:
    """The JSON on stdout of a command that went well."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_document_of_a_check_keeps_its_keys_and_adds_what_a_tools_file_is(tau: Tau, stocked: Path) -> None:
    found = document(tau("check", "0.8*papercut + lcm", "--json"))
    assert {"schema", "ok", "recipe", "locked", "base", "findings", "dialects"} <= found.keys()
    assert {"severity", "code", "sentence", "remedy"} == found["findings"][0].keys()
    for name, outcome in found["dialects"].items():
        assert outcome["name"] == name
        assert {"relative_error", "refusal", "title", "same_as", "cross_terms"} <= outcome.keys()
        assert (outcome["relative_error"] is None) == (outcome["refusal"] is not None)


@pytest.mark.parametrize(
    ("option", "stage"),
    [
        (("--rank", "2"), "rank(2)"),
        (("--energy", "0.8"), "energy(0.8)"),
        (("--error", "0.3"), "error(0.3)"),
        (("--dtype", "bf16"), "dtype(bf16)"),
    ],
)
def test_an_option_is_the_stage_that_it_stands_for(
    option: tuple[str, str], stage: str, tau: Tau, stocked: Path, tmp_path: Path
) -> None:
    text = f"papercut + lcm | {stage}"
    assert document(tau("check", "papercut + lcm", *option, "--json"))["recipe"] == text
    by_option, by_stage, plain = (
        document(tau("compose", *arguments, "-o", tmp_path / f"{i}.safetensors", "--json"))["certificate"]
        for i, arguments in enumerate((("papercut + lcm", *option), (text,), ("papercut + lcm",)))
    )
    assert by_option["file_sha256"] == by_stage["file_sha256"] != plain["file_sha256"]
    assert bool(by_option["approximations"]) == (option[0] != "--dtype")
    assert tau("verify", tmp_path / "0.safetensors").exit_code == 0


def test_a_lowered_rank_says_how_much_was_left_out(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    shown = tau("compose", "papercut + lcm", "--rank", 1, "-o", tmp_path / "a.safetensors").stdout
    assert "worst approximation error" in shown
    assert "worst approximation error" not in tau("compose", "lcm", "-o", tmp_path / "b.safetensors").stdout


def test_as_another_tool_is_the_call_that_it_stands_for(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    files = [
        document(tau("compose", *arguments, "-o", tmp_path / f"{i}.safetensors", "--json"))
        for i, arguments in enumerate(
            (("papercut + lcm", "--as", "kohya-concat"), ("kohya-concat(papercut, lcm)",), ("papercut + lcm",))
        )
    ]
    digests = [found["certificate"]["file_sha256"] for found in files]
    assert files[0]["report"]["recipe"] == "kohya-concat(papercut, lcm)"
    assert digests[0] == digests[1] != digests[2]
    assert (
        document(tau("check", "papercut + lcm", "--as", "kohya-concat", "--json"))["recipe"]
        == files[1]["report"]["recipe"]
    )
    assert tau("check", "papercut + lcm", "--as", "abacus").exit_code == 2


def test_the_format_of_a_check_is_that_of_the_file_to_come(tau: Tau, stocked: Path) -> None:
    for layout in ("kohya", "kohya-sgm", "diffusers", "comfy", "peft"):
        assert tau("check", "papercut + lcm", "--format", layout).exit_code == 0
    assert tau("check", "papercut + lcm", "--format", "onnx").exit_code == 2
    assert tau("compose", "papercut + lcm", "--format", "onnx").exit_code == 2


def test_a_matrix_is_refused_with_its_remedy(tau: Tau, stocked: Path) -> None:
    result = tau("compose", "ties(papercut, lcm)")
    assert result.exit_code == 4
    assert "rank(" in result.stderr
    assert tau("check", "ties(papercut, lcm)").exit_code == 4
    assert tau("compose", "ties(papercut, lcm) | rank(4)", "--name", "tied").exit_code == 0
    assert tau("verify", "tied").exit_code == 0


def test_another_tools_file_is_proved_by_the_recipe_given_beside_it(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    out = tmp_path / "sum.safetensors"
    tau("compose", "0.8*papercut + lcm", "-o", out)
    save_file(load_file(out), tmp_path / "plain.safetensors")
    assert tau("verify", tmp_path / "plain.safetensors").exit_code == 3
    proof = document(tau("verify", tmp_path / "plain.safetensors", "--recipe", "0.8*papercut + lcm", "--json"))
    assert [one["weight"] for one in proof["certificate"]["inputs"]] == [0.8, 1.0]
    assert tau("verify", tmp_path / "plain.safetensors", "--recipe", "papercut + lcm").exit_code == 4
    assert tau("verify", tmp_path / "plain.safetensors", "--recipe", "0.8*papercut + nothing").exit_code == 3


def test_a_recipe_file_may_have_lines_and_comments(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.txt"
    file.write_text("# a composition\n0.8*papercut  # the style\n  + lcm\n| dtype(fp16)\n", encoding="utf-8")
    expected = "0.8*papercut + lcm | dtype(fp16)"
    assert document(tau("check", f"@{file}", "--json"))["recipe"] == expected
    assert document(tau("check", "-", "--json", stdin=file.read_text()))["recipe"] == expected
    assert document(tau("compose", f"@{file}", "--name", "both", "--json"))["report"]["recipe"] == expected
    assert document(tau("bake", f"@{file}", "--base", "tiny", "-o", tmp_path / "out", "--json"))["recipe"] == expected


def test_what_is_wrong_in_a_recipe_file_is_shown_with_its_line(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.txt"
    file.write_text("# a product of names is none\npapercut * lcm\n", encoding="utf-8")
    wrong = tau("check", f"@{file}")
    assert wrong.exit_code == 2
    assert "  papercut * lcm\n" in wrong.stderr
    assert "^" in wrong.stderr
    assert tau("check", "papercut # a comment").exit_code == 2
    assert tau("check", f"@{tmp_path / 'nowhere.txt'}").exit_code == 3
    file.write_bytes(b"\xff\xfe")
    assert tau("check", f"@{file}").exit_code == 2
    assert tau("check", "-", stdin="").exit_code == 2


def test_a_check_of_paths_needs_no_registry(tau: Tau, write_vector: Callable, tmp_path: Path, home: Path) -> None:
    shapes = {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": (320, 768)}
    files = [write_vector(tmp_path / f"{n}.safetensors", tuple(shapes), shapes=shapes, seed=n) for n in (1, 2)]
    found = document(tau("check", f"0.5*{files[0]} + {files[1]}", "--json"))
    assert found["base"] is None
    assert found["dialects"]
    assert not home.exists()
