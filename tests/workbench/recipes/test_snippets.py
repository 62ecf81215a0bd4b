import ast
import shlex

import pytest

from workbench.painting.profiles import Sampling
from workbench.recipes.snippets import Scene, command_of, compose_command_of, link_parameters, program_of

USUAL = Sampling(solver="lcm", steps=4, guidance=1.0, spacing="trailing", eta=0.0)
SLOW = Sampling("ddim", 25, 7.5, "leading", 0.5, 64, 96, "blur, 'fog'", init="ab" * 32, init_strength=0.3)
TRICKY = Scene("-0.3*blur + a{/x'y/: 2}", "tiny:1", 'it\'s "a fox"; rm -rf $HOME', 7, SLOW)


def test_a_link_says_of_the_settings_what_is_not_recommended() -> None:
    plain = Scene("a:1", "tiny:1", "a fox", 0, USUAL)
    assert link_parameters(plain, USUAL) == {"recipe": "a:1", "base": "tiny:1", "prompt": "a fox"}
    assert link_parameters(TRICKY, USUAL) == {
        "recipe": TRICKY.recipe,
        "base": "tiny:1",
        "prompt": TRICKY.prompt,
        "seed": "7",
        "solver": "ddim",
        "steps": "25",
        "guidance": "7.5",
        "width": "64",
        "height": "96",
        "negative": "blur, 'fog'",
        "init": "ab" * 32,
        "init_strength": "0.3",
    }
    assert "prompt" not in link_parameters(Scene("a:1", None, "", 0, USUAL), USUAL)


def test_a_command_is_one_line_that_a_shell_reads_as_it_was_meant() -> None:
    words = shlex.split(command_of(TRICKY))
    assert words[:3] == ["tau", "preview", TRICKY.recipe]
    said = dict(zip(words[3::2], words[4::2], strict=True))
    assert (
        said.items()
        >= {
            "--prompt": TRICKY.prompt,
            "--base": "tiny:1",
            "--seed": "7",
            "--solver": "ddim",
            "--steps": "25",
            "--guidance": "7.5",
            "--spacing": "leading",
            "--eta": "0.5",
            "--negative": "blur, 'fog'",
            "--init-strength": "0.3",
        }.items()
    )


def test_timesteps_are_one_word_of_the_command() -> None:
    exact = Sampling(timesteps=(999, 749, 499, 249))
    assert "--timesteps 999,749,499,249" in command_of(Scene("a:1", None, "", 0, exact))


@pytest.mark.parametrize("base", ["tiny:1", None])
def test_the_command_that_composes_names_the_base_where_there_is_one(base: str | None) -> None:
    words = shlex.split(compose_command_of(Scene("a + b", base, "", 0, USUAL)))
    assert words == ["tau", "compose", "a + b", *(["--base", base] if base else [])]


def test_a_program_calls_preview_with_all_that_was_said() -> None:
    [_, block, _] = ast.parse(program_of(TRICKY)).body
    [call] = [
        node for node in ast.walk(block) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "preview"
    ]
    assert [ast.literal_eval(argument) for argument in call.args[1:]] == [TRICKY.recipe, [TRICKY.prompt]]
    said = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    assert said.items() >= {"base": "tiny:1", "seeds": (7,), "solver": "ddim", "steps": 25, "eta": 0.5}.items()
