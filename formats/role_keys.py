"""How each layout that is written ends the key of a piece, as far as its readers know the piece."""

from collections.abc import Mapping

from formats.architecture import Architecture
from formats.errors import UnknownModule
from formats.spellings import Layout, stems

_FACTORS: Mapping[str, str] = {
    "down": ".lora_down.weight",
    "up": ".lora_up.weight",
    "mid": ".lora_mid.weight",
    "alpha": ".alpha",
    "magnitude": ".dora_scale",
    "reshape": ".reshape_weight",
    "rescale": ".rescale",
    "oft_blocks": ".oft_blocks",
    **{f"{half}{side}": f".{half}{side}.weight" for half in "ab" for side in "12"},
    **{role: f".{role}" for role in ("diff", "diff_b", "set_weight", "w_norm", "b_norm")},
    **{f"hada_w{side}_{part}": f".hada_w{side}_{part}" for side in "12" for part in "ab"},
    **{f"hada_t{side}": f".hada_t{side}" for side in "12"},
    **{f"lokr_w{side}{part}": f".lokr_w{side}{part}" for side in "12" for part in ("", "_a", "_b")},
    "lokr_t2": ".lokr_t2",
}
"""What ComfyUI reads, and with it LyCORIS in nearly all."""

_OF_LYCORIS: Mapping[str, str] = {**_FACTORS, "scalar": ".scalar", "ia3_l": ".weight", "on_input": ".on_input"}
_OF_DIFFUSERS: Mapping[str, str] = {
    "down": ".lora_A.weight",
    "up": ".lora_B.weight",
    "up_bias": ".lora_B.bias",
    "magnitude": ".lora_magnitude_vector",
}

ROLE_ENDS: Mapping[Layout, Mapping[str, str]] = {
    Layout.KOHYA: _OF_LYCORIS,
    Layout.KOHYA_SGM: _OF_LYCORIS,
    Layout.COMFY: _FACTORS,
    Layout.DIFFUSERS: _OF_DIFFUSERS,
    Layout.PEFT: {
        **_OF_DIFFUSERS,
        "embedding_down": ".lora_embedding_A",
        "embedding_up": ".lora_embedding_B",
    },
}
"""Layout -> role -> the end of its key. Diffusers and PEFT keep alphas in a configuration."""


def role_key(layout: Layout, module: str, role: str, architecture: Architecture) -> str:
    """The key of a piece of `module`, of which a bias or normalisation is named as `norms.spec_of` names it.

    Raises UnknownModule where the layout cannot name the module, KeyError for a role that it does not have.
    """
    owner = module if module in architecture.modules else module.rpartition(".")[0]
    spelled = stems(layout, owner, architecture)
    if not spelled:
        raise UnknownModule(f"{module}: not a module of {architecture.name} that {layout} can name. Check the base.")
    return spelled[0] + ROLE_ENDS[layout][role]
