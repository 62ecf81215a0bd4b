"""bake, unbake, and verify of a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import Result

Tau = Callable[..., Result]

UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


def document(result: Result) -> Any:
    """The JSON on stdout of a command that went well."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The U-Net's of a folder."""
    return load_file(folder / UNET)


def delta(file: Path) -> torch.Tensor:
    """alpha / r * up @ down of the first attention's query of a kohya file, float64."""
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    stored = {key: tensor.double() for key, tensor in load_file(file).items()}
    down, up, alpha = (stored[f"{stem}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
    return alpha / down.shape[0] * up @ down


QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"


def test_a_checkpoint_holds_the_sum_says_so_and_is_verified(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    found = document(tau("bake", "tiny + 0.5*papercut + lcm", "-o", tmp_path / "out", "--json"))
    assert found["schema"] == "tau.bake/1"
    assert (found["version"], found["recipe"], found["path"]) == (
        None,
        "tiny + 0.5*papercut + lcm",
        str(tmp_path / "out"),
    )
    expected = 0.5 * delta(stocked / "papercut.safetensors") + delta(stocked / "lcm.safetensors")
    assert torch.allclose(weights(tmp_path / "out")[QUERY].double(), expected, rtol=1e-6, atol=1e-7)
    assert len(found["certificate"]["modules"]) == 8
    proof = document(tau("verify", tmp_path / "out", "--json"))
    assert proof["schema"] == "tau.certificate/1"
    assert proof["certificate"]["modules"] == found["certificate"]["modules"]
    assert tau("verify", tmp_path / "out", "-q").stdout.split() == list(proof["certificate"]["files"].values())
    assert "8 proved" in tau("verify", tmp_path / "out").stdout


def test_every_option_of_bake_changes_what_it_makes(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    assert document(tau("bake", "tiny + lcm", "-o", tmp_path / "a", "--json"))["certificate"]["dtype"] == "F32"
    half = tau("bake", "lcm", "-o", tmp_path / "b", "--base", "tiny", "--dtype", "fp16", "--json")
    assert document(half)["certificate"]["dtype"] == "F16"
    assert weights(tmp_path / "b")[QUERY].dtype == torch.float16
    assert tau("bake", "tiny + lcm", "-o", tmp_path / "c", "--shard", "1K", "-q").stdout == f"{tmp_path / 'c'}\n"
    assert len(list((tmp_path / "c" / "unet").glob("*-of-*.safetensors"))) > 1
    assert tau("bake", "tiny + lcm", "-o", tmp_path / "d", "--name", "mine", "-q").stdout == "mine:1\n"
    drafted = document(tau("bake", "tiny + papercut", "-o", tmp_path / "e", "--name", "drafted", "--draft", "--json"))
    assert (drafted["version"]["kind"], drafted["version"]["state"]) == ("base", "draft")
    assert tau("verify", "mine").exit_code == 0
    edges = document(tau("lineage", "mine", "--json"))["edges"]
    assert {(edge["parent"], edge["relation"]) for edge in edges} == {
        ("tiny:1", "baked_into"),
        ("lcm:1", "composed_from"),
    }
    scoped = tau("bake", "tiny + lcm{conv_in: 0}", "-o", tmp_path / "f")
    assert scoped.exit_code == 4, scoped.stderr
    tau("bake", "tiny + lcm{/conv_in$/: 0}", "-o", tmp_path / "f")
    assert not weights(tmp_path / "f")["conv_in.weight"].any()


def test_a_residual_gives_the_base_back(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    assert tau("bake", "tiny + lcm", "-o", tmp_path / "out", "--residual", tmp_path / "kept").exit_code == 0
    back = document(tau("unbake", tmp_path / "out", "--residual", tmp_path / "kept", "-o", tmp_path / "back", "--json"))
    assert back["schema"] == "tau.restored/1"
    assert (tmp_path / "back" / UNET).read_bytes() == (stocked / "base" / UNET).read_bytes()
    assert list(back["files"]) == [UNET.as_posix()]
    again = tau("unbake", tmp_path / "out", "--residual", tmp_path / "kept", "-o", tmp_path / "again", "-q")
    assert again.stdout == f"{tmp_path / 'again'}\n"
    tau("bake", "tiny + papercut", "-o", tmp_path / "other")
    wrong = tau("unbake", tmp_path / "other", "--residual", tmp_path / "kept", "-o", tmp_path / "wrong")
    assert wrong.exit_code == 4
    assert "belongs to other bytes" in wrong.stderr
    unbaked = tau("unbake", stocked / "base", "--residual", tmp_path / "kept", "-o", tmp_path / "wrong")
    assert unbaked.exit_code == 3
    assert not (tmp_path / "wrong").exists()


def test_any_checkpoint_is_proved_by_the_recipe_given_beside_it(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    tau("bake", "tiny + 0.5*lcm", "-o", tmp_path / "out")
    plain = {key: tensor.clone() for key, tensor in weights(tmp_path / "out").items()}
    save_file(plain, tmp_path / "out" / UNET)
    (tmp_path / "out.certificate.json").unlink()
    missing = tau("verify", tmp_path / "out")
    assert missing.exit_code == 3
    assert "--recipe" in missing.stderr
    assert tau("verify", tmp_path / "out", "--recipe", "tiny + 0.5*lcm").exit_code == 0
    assert tau("verify", tmp_path / "out", "--recipe", "0.5*lcm", "--base", "tiny").exit_code == 0
    wrong = tau("verify", tmp_path / "out", "--recipe", "tiny + 0.6*lcm")
    assert wrong.exit_code == 4
    assert "arithmetic error" in wrong.stderr


def test_paths_need_no_registry(tau: Tau, files: Path, tmp_path: Path, home: Path) -> None:
    recipe = f"{files / 'base'} + 0.5*{files / 'papercut.safetensors'}"
    baked = tau("bake", recipe, "-o", tmp_path / "out", "--residual", tmp_path / "kept")
    assert baked.exit_code == 0, baked.stderr
    assert "registry: none" in baked.stderr
    assert tau("verify", tmp_path / "out").exit_code == 0
    assert tau("unbake", tmp_path / "out", "--residual", tmp_path / "kept", "-o", tmp_path / "back").exit_code == 0
    assert tau("bake", recipe, "-o", tmp_path / "again", "--name", "mine").exit_code == 2
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("tiny + lcm",), 2, "Missing option"),
        (("tiny + nothing", "-o", "OUT"), 3, "nothing"),
        (("0.5*tiny + lcm", "-o", "OUT"), 2, "add up to 0.5"),
        (("tiny", "-o", "OUT"), 4, "nothing would change"),
        (("tiny + lcm", "-o", "TAKEN"), 5, "never replaced"),
        (("tiny + lcm", "-o", "OUT", "--dtype", "fp8"), 2, "fp8"),
        (("tiny + lcm", "-o", "OUT", "--shard", "much"), 2, "much"),
        (("tiny + lcm", "-o", "OUT", "--memory", "much"), 2, "much"),
        (("tiny + lcm", "-o", "OUT", "--workers", "0"), 4, "workers"),
        (("tiny + lcm", "-o", "OUT", "--device", "abacus"), 4, "abacus"),
        (("tiny + lcm", "-o", "OUT", "--base", "lcm"), 2, "name a base"),
    ],
)
def test_what_cannot_be_baked_is_refused_and_leaves_nothing(
    arguments: tuple[str, ...], code: int, words: str, tau: Tau, stocked: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    before = sorted(tmp_path.rglob("*out*"))
    places = {"OUT": str(tmp_path / "out"), "TAKEN": str(tmp_path / "taken")}
    result = tau("bake", *(places.get(argument, argument) for argument in arguments))
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert sorted(tmp_path.rglob("*out*")) == before
