"""interference: two vectors compared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Tau = Callable[..., Result]


def report(result: Result) -> Any:
    """The JSON on stdout of a command that went well."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_document_has_norms_angles_blocks_and_a_suggestion(tau: Tau, stocked: Path) -> None:
    found = report(tau("interference", "papercut", "lcm", "--json"))
    assert found["schema"] == "tau.interference/1"
    assert (found["a"], found["b"], found["strengths"]) == ("papercut:1", "lcm:1", [1.0, 1.0])
    assert {"norm_a", "norm_b", "inner", "cosine"} == found["overlap"].keys()
    assert sum(block["modules"] for block in found["blocks"]) == len(found["modules"]) == 8
    assert found["suggested"]["vector"] == "papercut:1"
    turned = report(tau("interference", "lcm", "papercut", "--json"))
    assert turned["overlap"]["cosine"] == pytest.approx(found["overlap"]["cosine"])


def test_strengths_scale_the_norms_and_quiet_prints_the_cosine(tau: Tau, stocked: Path) -> None:
    plain = report(tau("interference", "papercut", "lcm", "--json"))
    scaled = report(tau("interference", "papercut", "lcm", "--strength-a", "0.5", "--strength-b", "2", "--json"))
    assert scaled["strengths"] == [0.5, 2.0]
    assert scaled["norm_of_sum"] != plain["norm_of_sum"]
    assert tau("interference", "papercut", "lcm", "-q").stdout.strip() == f"{plain['overlap']['cosine']:+.4f}"
    shown = tau("interference", "papercut", "lcm").stdout
    assert "norm of the sum" in shown
    assert "down" in shown


def test_paths_need_no_registry(tau: Tau, write_vector: Callable, tmp_path: Path, home: Path) -> None:
    shapes = {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": (320, 768)}
    files = [write_vector(tmp_path / f"{n}.safetensors", tuple(shapes), shapes=shapes, seed=n) for n in (1, 2)]
    assert abs(report(tau("interference", *files, "--json"))["overlap"]["cosine"]) < 0.2
    assert report(tau("interference", files[0], files[0], "--json"))["overlap"]["cosine"] == pytest.approx(1)
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("papercut",), 2),
        (("papercut", "nothing"), 3),
        (("papercut", "./nowhere.safetensors"), 3),
        (("papercut", "tiny"), 4),
        (("papercut", "lcm", "--workers", "0"), 4),
        (("papercut", "lcm", "--memory", "much"), 2),
        (("papercut", "lcm", "--device", "abacus"), 4),
        (("papercut", "lcm", "--strength-a", "1000"), 2),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments: tuple[str, ...], code: int, tau: Tau, stocked: Path) -> None:
    result = tau("interference", *arguments)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
