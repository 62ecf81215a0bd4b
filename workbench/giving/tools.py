"""Where other tools look for models, and which key layouts they read."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.errors import UnknownTool


@dataclass(frozen=True)
class Tool:
    """A tool's folders, below its own, and the layouts of vectors that it reads as they are; others become kohya."""

    name: str
    title: str
    vectors: str
    checkpoints: str
    pipelines: str | None
    """Where folders of the diffusers layout go, None where the tool reads none."""
    layouts: frozenset[str]
    keeps_words: bool
    """Whether it reads trigger words and a strength from a JSON beside a vector."""


TOOLS: Mapping[str, Tool] = {
    "comfyui": Tool(
        name="comfyui",
        title="ComfyUI",
        vectors="models/loras",
        checkpoints="models/checkpoints",
        pipelines="models/diffusers",
        layouts=frozenset({"kohya", "kohya-sgm", "diffusers", "comfy", "lycoris", "onetrainer"}),
        keeps_words=False,
    ),
    "a1111": Tool(
        name="a1111",
        title="AUTOMATIC1111 web UI",
        vectors="models/Lora",
        checkpoints="models/Stable-diffusion",
        pipelines=None,
        layouts=frozenset({"kohya", "kohya-sgm", "lycoris", "onetrainer"}),
        keeps_words=True,
    ),
}


def tool_named(name: str) -> Tool:
    """The tool of that name. Raises UnknownTool."""
    if name not in TOOLS:
        raise UnknownTool(f"tool {name!r}: expected one of {', '.join(TOOLS)}")
    return TOOLS[name]
