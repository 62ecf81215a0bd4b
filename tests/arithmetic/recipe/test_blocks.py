"""kohya's block lists on the real tables: what each entry covers, and what a list says nothing of."""

import re

import pytest

from arithmetic import BlockList, RecipeError, Scope, ScopeMismatch, parse
from arithmetic.recipe import block_of, fitting_lengths
from arithmetic.recipe.blocks import LISTS
from formats import Architecture, ModuleSpec, architecture
from formats.norms import norm_widths

LISTED = {
    12: "BASE IN04 IN05 IN07 IN08 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05",
    17: "BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
    20: "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08",
    26: "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08 IN09 IN10 IN11 MID "
    "OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
}
"""As kohya's LAYER12 to LAYER26 (networks/svd_merge_lora.py) and the web UI's BLOCKID12 to BLOCKID26 have them."""

CASES = [(17, "sd15"), (26, "sd15"), (17, "sd21"), (26, "sd21"), (12, "sdxl"), (20, "sdxl"), (20, "ssd1b")]
UNLISTED = {17: "unet.down_blocks.0.downsamplers.0.conv", 12: "unet.down_blocks.0.resnets.0.conv1"}


def weights_of(table: Architecture) -> tuple[str, ...]:
    """Every weight and bias of the base that an adapter can change."""
    norms = (f"{norm}.{end}" for norm in norm_widths(table) for end in ("weight", "bias"))
    return (*table.modules, *(f"{module}.bias" for module in table.modules), *norms)


def scope_of(text: str) -> Scope:
    (term,) = parse(f"a{text}").terms
    (scope,) = term.scopes
    return scope


def numbered(length: int) -> BlockList:
    """The list whose entries are their own positions from 1."""
    return BlockList(tuple(float(position + 1) for position in range(length)))


def covered(length: int, table: Architecture) -> dict[str, set[str]]:
    """Block -> the weights that its entry reaches."""
    blocks: dict[str, set[str]] = {name: set() for name in LISTED[length].split()}
    for name in weights_of(table):
        factor = numbered(length).factor(name, table)
        if factor is not None:
            blocks[LISTED[length].split()[int(factor) - 1]].add(name)
    return blocks


def kohya_block(module: str) -> str | None:
    """The block of an SD-1 or SD-2 module by the formula of kohya's `get_lbw_block_index`."""
    if module.startswith("text_encoder."):
        return "BASE"
    if ".mid_block." in module:
        return "MID"
    found = re.match(r"unet\.(up|down)_blocks\.(\d+)\.(resnets|upsamplers|downsamplers|attentions)\.(\d+)\.", module)
    if not found:
        return None
    i, j = int(found[2]), int(found[4])
    if found[1] == "down":
        return f"IN{3 * (i + 1) if found[3] == 'downsamplers' else 3 * i + j + 1:02}"
    return f"OUT{3 * i + 2 if found[3] == 'upsamplers' else 3 * i + j:02}"


def test_the_lists_are_those_of_kohya_and_of_the_web_ui() -> None:
    assert {length: " ".join(blocks) for length, blocks in LISTS.items()} == LISTED
    assert all(len(blocks.split()) == length for length, blocks in LISTED.items())


@pytest.mark.parametrize(("length", "name"), CASES)
def test_every_entry_reaches_something_and_nothing_is_reached_twice(length: int, name: str) -> None:
    table = architecture(name)
    blocks = covered(length, table)
    assert all(blocks.values())
    assert sum(map(len, blocks.values())) == len(set().union(*blocks.values()))


@pytest.mark.parametrize(("length", "name"), CASES)
def test_one_hot_lists_and_the_rest_add_up_to_one_everywhere(length: int, name: str) -> None:
    table = architecture(name)
    hot = [
        Scope((BlockList(tuple(float(i == entry) for i in range(length))),), otherwise=0.0) for entry in range(length)
    ]
    rest = Scope((BlockList((0.0,) * length),))
    assert {sum(mask.factor(each, table) for mask in (*hot, rest)) for each in weights_of(table)} == {1}


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_blocks_of_sd1_and_sd2_are_kohyas_and_conv_in_is_the_first(name: str) -> None:
    table = architecture(name)
    for module in weights_of(table):
        expected = "IN00" if module.startswith("unet.conv_in") else kohya_block(module)
        assert block_of(module, table) == expected


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1", "BASE"),
        ("text_encoder_2.text_projection", "BASE"),
        ("unet.conv_in", "IN00"),
        ("unet.time_embedding.linear_1", "IN00"),
        ("unet.add_embedding.linear_2", "IN00"),
        ("unet.down_blocks.0.resnets.0.conv1", "IN01"),
        ("unet.down_blocks.0.downsamplers.0.conv.bias", "IN03"),
        ("unet.down_blocks.1.attentions.0.proj_in", "IN04"),
        ("unet.down_blocks.2.attentions.1.transformer_blocks.9.ff.net.2", "IN08"),
        ("unet.mid_block.resnets.1.norm1.weight", "MID"),
        ("unet.up_blocks.0.upsamplers.0.conv", "OUT02"),
        ("unet.up_blocks.1.attentions.2.proj_out", "OUT05"),
        ("unet.up_blocks.2.resnets.2.conv_shortcut", "OUT08"),
        ("unet.conv_norm_out.weight", None),
        ("unet.conv_out", None),
    ],
)
def test_blocks_of_sdxl(module: str, block: str | None) -> None:
    assert block_of(module, architecture("sdxl")) == block


@pytest.mark.parametrize(("length", "name"), [(17, "sd15"), (17, "sd21"), (12, "sdxl")])
def test_a_short_list_has_the_blocks_with_attention(length: int, name: str) -> None:
    table = architecture(name)
    attended = {block_of(module, table) for module in weights_of(table) if ".attentions." in module}
    assert attended == set(LISTED[length].split()) - {"BASE"}


@pytest.mark.parametrize(
    ("length", "name", "outside"),
    [(26, "sd15", ("time_embedding", "conv_out", "conv_norm_out")), (20, "sdxl", ("conv_out", "conv_norm_out"))],
)
def test_a_long_list_covers_all_but_what_is_in_no_block(length: int, name: str, outside: tuple[str, ...]) -> None:
    table = architecture(name)
    reached = set().union(*covered(length, table).values())
    missed = {each for each in weights_of(table) if each not in reached}
    assert missed == {each for each in weights_of(table) if each.split(".")[1] in outside}


@pytest.mark.parametrize(("length", "name"), [(17, "sd15"), (12, "sdxl")])
def test_what_a_list_leaves_out_keeps_what_else_sets(length: int, name: str) -> None:
    table = architecture(name)
    halves = ", ".join(["0.5"] * length)
    for text, expected in [(f"{{lbw: [{halves}]}}", 1), (f"{{lbw: [{halves}], else: 0}}", 0)]:
        assert scope_of(text).factor(UNLISTED[length], table) == expected
        assert scope_of(text).factor("unet.mid_block.attentions.0.proj_in", table) == 0.5


def test_a_list_is_a_rule_among_others() -> None:
    table = architecture("sd15")
    scope = scope_of(f"{{lbw: [{', '.join(['0'] * 17)}], unet.mid: 3}}")
    assert scope.factor("unet.mid_block.resnets.0.conv1", table) == 3
    assert scope.factor("unet.down_blocks.0.attentions.0.proj_in", table) == 0


@pytest.mark.parametrize(
    ("name", "lengths"),
    [("sd15", (17, 26)), ("sd21", (17, 26)), ("sdxl", (12, 20)), ("ssd1b", (12, 20)), ("vega", (12, 20))],
)
def test_a_list_made_for_another_architecture_is_refused_with_those_that_fit(
    name: str, lengths: tuple[int, int]
) -> None:
    table = architecture(name)
    assert fitting_lengths(table) == lengths
    for length in LISTS:
        if length in lengths:
            Scope((numbered(length),)).require_matches(list(table.modules), table)
            continue
        with pytest.raises(ScopeMismatch, match=rf"list of {length} numbers; the base is {name}.*{lengths[0]} or"):
            Scope((numbered(length),)).factor("unet.conv_in", table)
        with pytest.raises(ScopeMismatch, match=rf"list of {length} numbers"):
            Scope((numbered(length),)).require_matches(["unet.conv_in"], table)


def test_a_u_net_of_other_blocks_has_no_list() -> None:
    table = Architecture("tiny", {"unet.down_blocks.0.resnets.0.conv1": ModuleSpec("conv", (4, 4, 3, 3))})
    assert fitting_lengths(table) == ()
    with pytest.raises(ScopeMismatch, match="name blocks instead"):
        numbered(12).factor("unet.down_blocks.0.resnets.0.conv1", table)


def test_a_list_of_another_length_is_no_list() -> None:
    with pytest.raises(RecipeError, match="12, 17, 20 or 26"):
        BlockList((1.0,) * 13)


def test_a_list_that_has_no_adapted_module_is_refused() -> None:
    with pytest.raises(ScopeMismatch, match="None of them is in a block of the list"):
        Scope((numbered(17),)).require_matches(["unet.conv_out"], architecture("sd15"))
