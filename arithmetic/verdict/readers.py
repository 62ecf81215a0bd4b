"""What other tools are known to do to the file to come."""

from collections.abc import Iterator

from arithmetic.combination import Combination
from arithmetic.verdict.finding import Finding
from formats import Layout, component_of

SELF_ATTENTION = (".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj")
SELF_ATTENTION_OUTPUT = ".self_attn.out_proj"


def reader_findings(combination: Combination, layout: Layout) -> Iterator[Finding]:
    """Files that diffusers cannot load, by which of a text encoder's layers are adapted."""
    modules = {module for weight, source in combination.terms if weight != 0 for module in source.modules}
    of_encoders = sorted(module for module in modules if not module.startswith("unet."))
    for component in dict.fromkeys(component_of(module) for module in of_encoders):
        own = [module for module in of_encoders if component_of(module) == component]
        has_attention = any(module.endswith(SELF_ATTENTION) for module in own)
        has_output = any(module.endswith(SELF_ATTENTION_OUTPUT) for module in own)
        if layout is Layout.KOHYA and has_attention and not has_output:
            yield Finding(
                "kohya-text-encoder-without-out-proj",
                "warning",
                f"{component}: no out_proj is adapted; diffusers 0.42 cannot load such a kohya file or drops its keys.",
                "Write diffusers or PEFT when diffusers has to read it; other tools read it as it is.",
            )
        if layout is not Layout.KOHYA and not has_attention and not has_output:
            yield Finding(
                "diffusers-text-encoder-without-attention",
                "warning",
                f"{component}: no attention layer is adapted; diffusers 0.42 cannot tell the layout of such keys.",
                "Write kohya when diffusers has to read it.",
            )
