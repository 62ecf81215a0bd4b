"""What other tools are known to do to the file to come."""

from collections.abc import Iterator

from arithmetic.sources.combination import Combination
from arithmetic.verdict.finding import Finding, modules_of, some
from formats import Layout, component_of

KOHYA_LAYOUTS = (Layout.KOHYA, Layout.KOHYA_SGM)
WITHOUT_CHANNELS = (Layout.DIFFUSERS, Layout.PEFT)
"""Layouts whose readers know factors alone."""

SELF_ATTENTION = (".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj")
SELF_ATTENTION_OUTPUT = ".self_attn.out_proj"


def reader_findings(combination: Combination, layout: Layout) -> Iterator[Finding]:
    """Files that diffusers cannot load, by which of a text encoder's layers are adapted."""
    modules = {module for weight, source in combination.terms if weight != 0 for module in source.modules}
    table = combination.architecture.modules
    if layout in WITHOUT_CHANNELS and (channels := sorted(module for module in modules if module not in table)):
        yield Finding(
            "no-place-for-channels",
            "error",
            f"{layout} files hold no changes of biases and normalisations, and the sum has {modules_of(channels)} of "
            f"them: {some(channels)}.",
            "Write kohya or comfy, which ComfyUI and LyCORIS read, or bake it into a base.",
        )
    of_encoders = sorted(module for module in modules & table.keys() if not module.startswith("unet."))
    for component in dict.fromkeys(component_of(module) for module in of_encoders):
        own = [module for module in of_encoders if component_of(module) == component]
        has_attention = any(module.endswith(SELF_ATTENTION) for module in own)
        has_output = any(module.endswith(SELF_ATTENTION_OUTPUT) for module in own)
        if layout in KOHYA_LAYOUTS and has_attention and not has_output:
            yield Finding(
                "kohya-text-encoder-without-out-proj",
                "warning",
                f"{component}: no out_proj is adapted; diffusers 0.42 cannot load such a kohya file or drops its keys.",
                "Write diffusers or PEFT when diffusers has to read it; other tools read it as it is.",
            )
        if layout in WITHOUT_CHANNELS and not has_attention and not has_output:
            yield Finding(
                "diffusers-text-encoder-without-attention",
                "warning",
                f"{component}: no attention layer is adapted; diffusers 0.42 cannot tell the layout of such keys.",
                "Write kohya when diffusers has to read it.",
            )
