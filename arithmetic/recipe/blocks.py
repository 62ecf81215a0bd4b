"""kohya's block lists, `lbw: [1, 0, ...]`: one factor for the text encoders, then one for each block of the U-Net.

The blocks are those of the original code (IN04 is input_blocks.4), as in kohya's networks/svd_merge_lora.py. As there,
a list says nothing of what is in none of its blocks: that keeps what `else:` sets, which is 1. (The web UI's
lora-block-weight extension takes 0 for a block that its list leaves out: write `else: 0` for that.)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from arithmetic.errors import RecipeError, ScopeMismatch
from arithmetic.recipe.text import number_text
from formats import Architecture, component_of
from formats.sgm import layers_per_block, sgm_name, up_blocks_with_attention

BASE, MID = "BASE", "MID"
LONG, SHORT = 12, 9
"""How many input blocks, and as many output blocks, the U-Nets of SD-1 and SD-2 and the U-Net of SDXL have."""


def _sided(inputs: tuple[int, ...], outputs: range) -> tuple[str, ...]:
    return (BASE, *(f"IN{i:02}" for i in inputs), MID, *(f"OUT{i:02}" for i in outputs))


LISTS: Mapping[int, tuple[str, ...]] = {
    12: _sided((4, 5, 7, 8), range(6)),
    17: _sided((1, 2, 4, 5, 7, 8), range(3, 12)),
    20: _sided(tuple(range(9)), range(9)),
    26: _sided(tuple(range(12)), range(12)),
}
"""Length of a list -> the block that each entry is for: the blocks with attention of SDXL and of SD-1 and SD-2, and all
blocks of each."""

LENGTHS: Mapping[int, tuple[int, ...]] = {LONG: (17, 26), SHORT: (12, 20)}
"""Number of input blocks -> the lists that fit."""

SGM_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.(\d+|cond_proj)")


@dataclass(frozen=True)
class BlockList:
    """One rule of a scope that gives each block its own factor. Raises RecipeError for a length that no list has."""

    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.factors) not in LISTS:
            *others, last = map(str, LISTS)
            lengths = f"{', '.join(others)} or {last}"
            raise RecipeError(f"lbw takes a list of {lengths} numbers, BASE included; got {len(self.factors)}.")

    def __str__(self) -> str:
        return f"lbw: [{', '.join(map(number_text, self.factors))}]"

    def factor(self, module: str, architecture: Architecture) -> float | None:
        """What the list gives `module`; None for a module of a block that is not in it.

        Raises:
            ScopeMismatch: the architecture's U-Net has other blocks.
        """
        self.require_fit(architecture)
        blocks = LISTS[len(self.factors)]
        block = block_of(module, architecture)
        return self.factors[blocks.index(block)] if block in blocks else None

    def require_fit(self, architecture: Architecture) -> None:
        """Raises ScopeMismatch for a list that is not made for this architecture, naming the lengths that are."""
        fitting = fitting_lengths(architecture)
        if len(self.factors) in fitting:
            return
        remedy = f"for which it has {' or '.join(map(str, fitting))}"
        if not fitting:
            remedy = "for which there is no list: name blocks instead, such as {unet.down.0: 0.5}"
        raise ScopeMismatch(f"lbw: a list of {len(self.factors)} numbers; the base is {architecture.name}, {remedy}.")


def fitting_lengths(architecture: Architecture) -> tuple[int, ...]:
    """The lengths of the lists made for `architecture`: by how many input and output blocks its U-Net has."""
    inputs, outputs = _input_and_output_blocks(architecture)
    return LENGTHS.get(inputs, ()) if inputs == outputs else ()


def block_of(module: str, architecture: Architecture) -> str | None:
    """`BASE`, `IN00` to `IN11`, `MID` or `OUT00` to `OUT11`; None for what is in no block.

    BASE is every module of the text encoders. conv_in is IN00. SDXL's time and label embeddings are IN00 too, those of
    SD-1 and SD-2 are in no block, and no conv_out is: as kohya's `get_lbw_block_index` has them. Samplers, ResNets,
    biases and normalisations are where their block is.
    """
    if component_of(module) != "unet":
        return BASE
    match = SGM_BLOCK.match(_sgm(module, architecture) or "")
    if match is None:
        return None
    match match[1]:
        case "input_blocks":
            return f"IN{int(match[2]):02}"
        case "output_blocks":
            return f"OUT{int(match[2]):02}"
        case "middle_block":
            return MID
        case "time_embed" | "label_emb" if _input_and_output_blocks(architecture)[0] == SHORT:
            return "IN00"
    return None


def _sgm(module: str, architecture: Architecture) -> str | None:
    name = module.removeprefix("unet.")
    layers, attended = _depths(architecture)
    return sgm_name(name, layers, attended) or sgm_name(name.rpartition(".")[0], layers, attended)


@lru_cache(maxsize=64)
def _depths(architecture: Architecture) -> tuple[int, frozenset[int]]:
    return layers_per_block(architecture.modules), up_blocks_with_attention(architecture.modules)


@lru_cache(maxsize=64)
def _input_and_output_blocks(architecture: Architecture) -> tuple[int, int]:
    names = [_sgm(module, architecture) or "" for module in architecture.modules if component_of(module) == "unet"]
    return _count("input_blocks", names), _count("output_blocks", names)


def _count(side: str, names: list[str]) -> int:
    return len({name.split(".")[1] for name in names if name.startswith(f"{side}.")})
