"""A composition as texts to hand on: the parameters of a link, a command line, a program in Python."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.painting.profiles import Sampling


LINKED = ("solver", "steps", "guidance", "width", "height", "negative", "init", "init_strength")
"""The settings that a link carries."""


@dataclass(frozen=True)
class Scene:
    """What is painted: a recipe on a base, a prompt, a seed, and how."""

    recipe: str
    base: str | None
    prompt: str
    seed: int
    sampling: "Sampling"


def link_parameters(scene: Scene, recommended: "Sampling | None" = None) -> dict[str, str]:
    """What the URL of the Compose page says; of the settings, what differs from those that the recipe recommends, or
    all of them.
    """
    usual = {} if recommended is None else recommended.said
    chosen = {name: value for name, value in scene.sampling.said.items() if value != usual.get(name)}
    chosen = {name: chosen[name] for name in LINKED if name in chosen}
    told = {"recipe": scene.recipe, "base": scene.base, "prompt": scene.prompt, "seed": scene.seed or None, **chosen}
    return {name: _plain(value) for name, value in told.items() if value not in (None, "")}


def command_of(scene: Scene) -> str:
    """The command that paints the same in a shell."""
    options = {"prompt": scene.prompt, "base": scene.base, "seed": scene.seed, **scene.sampling.said}
    words = ["tau", "preview", scene.recipe]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", _plain(value)]
    return shlex.join(words)


def compose_command_of(scene: Scene) -> str:
    """The command that writes the sum and registers it."""
    return shlex.join(["tau", "compose", scene.recipe, *(["--base", scene.base] if scene.base else [])])


def program_of(scene: Scene) -> str:
    """The Python program that paints the same."""
    options = {"base": scene.base, "seeds": (scene.seed,), **scene.sampling.said}
    arguments = "".join(f"        {name}={value!r},\n" for name, value in options.items() if value is not None)
    return (
        "from tauworks import Registry, preview\n\n"
        "with Registry.open() as registry:\n"
        "    painted = preview(\n"
        "        registry,\n"
        f"        {scene.recipe!r},\n"
        f"        [{scene.prompt!r}],\n"
        f"{arguments}"
        "    )\n"
        "print(painted.path)\n"
    )


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
