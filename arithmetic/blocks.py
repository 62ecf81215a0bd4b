"""The block of the network that a module belongs to, named as a recipe's scopes name it."""

SIDES = {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up"}
COMPONENTS = {"text_encoder": "te", "text_encoder_2": "te2"}


def block_of(module: str) -> str:
    """`unet.down.1`, `unet.mid`, `unet.conv_in`, `unet.time_embedding`; a text encoder is one block, `te` or `te2`."""
    component, _, name = module.partition(".")
    if component in COMPONENTS:
        return COMPONENTS[component]
    first, _, rest = name.partition(".")
    side = SIDES.get(first, first)
    return f"{component}.{side}.{rest.partition('.')[0]}" if side in ("down", "up") else f"{component}.{side}"
