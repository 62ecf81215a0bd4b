"""Which modules a scope reaches, on the real tables, biases and normalisations included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import Block, Pattern, RecipeError, Rule, Scope, ScopeMismatch, parse
from formats import Architecture, architecture
from formats.norms import norm_widths

TABLES = ("sd15", "sd21", "sdxl", "ssd1b", "vega", "sdxl-refiner")


def weights_of(table: Architecture) -> tuple[str, ...]:
    """Every weight and bias of the base that an adapter can change."""
    norms = (f"{norm}.{end}" for norm in norm_widths(table) for end in ("weight", "bias"))
    return (*table.modules, *(f"{module}.bias" for module in table.modules), *norms)


def scope_of(text: str) -> Scope:
    (term,) = parse(f"a{text}").terms
    (scope,) = term.scopes
    return scope


def reached(text: str, table: Architecture) -> set[str]:
    """What the scope gives 2 rather than 1."""
    scope = scope_of(text)
    return {name for name in weights_of(table) if scope.factor(name, table) == 2}


PARTITIONS = [
    ("te", "te2", "unet"),
    ("text_encoder", "text_encoder_2", "unet.down", "unet.mid", "unet.up", "/^unet\\.(?!down|mid|up)/"),
    ("/bias$/", "/(?<!bias)$/"),
    ("unet.down.0", "unet.down.1", "unet.down_blocks.2", "/^(?!unet\\.down_blocks\\.[012]\\.)/"),
]


@pytest.mark.parametrize("table", [architecture(name) for name in TABLES], ids=TABLES)
@pytest.mark.parametrize("parts", PARTITIONS)
def test_one_hot_scopes_over_a_partition_add_up_to_one_everywhere(parts: tuple[str, ...], table: Architecture) -> None:
    masks = [scope_of(f"{{{part}: 1, else: 0}}") for part in parts]
    assert {sum(mask.factor(name, table) for mask in masks) for name in weights_of(table)} == {1}


@given(st.permutations(["unet: 2", "unet.down: 3", "unet.down.1: 5", "/attn2/: 7", "te: 11"]), st.sampled_from([1, 13]))
def test_the_last_rule_that_matches_wins_and_else_sets_the_rest(rules: list[str], otherwise: int) -> None:
    table = architecture("sd15")
    matching = {
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": {2, 3, 5, 7},
        "unet.down_blocks.0.resnets.0.norm1.weight": {2, 3},
        "unet.conv_in.bias": {2},
        "text_encoder.text_model.encoder.layers.0.mlp.fc1": {11},
    }
    scope = scope_of(f"{{{', '.join(rules)}, else: {otherwise}}}")
    order = [int(rule.split(": ")[1]) for rule in rules]
    for module, primes in matching.items():
        assert scope.factor(module, table) == [weight for weight in order if weight in primes][-1]
    assert scope_of(f"{{te: 2, else: {otherwise}}}").factor("unet.conv_in", table) == otherwise


def test_a_block_is_named_by_whole_parts_in_the_short_or_the_long_form() -> None:
    table = architecture("sdxl")
    names = weights_of(table)
    for text, beginning in [
        ("{te: 2}", "text_encoder."),
        ("{te2: 2}", "text_encoder_2."),
        ("{unet.down: 2}", "unet.down_blocks."),
        ("{unet.down.1: 2}", "unet.down_blocks.1."),
        ("{unet.up_blocks.2: 2}", "unet.up_blocks.2."),
        ("{unet.mid.attentions.0.transformer_blocks.1: 2}", "unet.mid_block.attentions.0.transformer_blocks.1."),
        ("{'unet.time_embedding': 2}", "unet.time_embedding."),
    ]:
        assert reached(text, table) == {name for name in names if name.startswith(beginning)} != set()
    assert reached("{unet.conv_in: 2}", table) == {"unet.conv_in", "unet.conv_in.bias"}


def test_an_expression_is_searched_in_the_full_name() -> None:
    table = architecture("sd15")
    assert reached("{/attn2/: 2}", table) == {name for name in weights_of(table) if "attn2" in name}
    assert reached("{/^unet\\.mid_block\\..*to_[qk]$/: 2}", table) == {
        f"unet.mid_block.attentions.0.transformer_blocks.0.{attention}.{projection}"
        for attention in ("attn1", "attn2")
        for projection in ("to_q", "to_k")
    }
    assert reached("{/time_emb|samplers/: 2}", table) >= {
        "unet.time_embedding.linear_1",
        "unet.down_blocks.0.downsamplers.0.conv",
        "unet.up_blocks.0.upsamplers.0.conv.bias",
        "unet.mid_block.resnets.1.time_emb_proj",
    }


def test_a_rule_without_a_module_names_itself_and_the_nearest_blocks() -> None:
    table = architecture("sd15")
    unet = [module for module in table.modules if module.startswith("unet.")]
    for text, rule, nearest in [
        ("{unet: 1, unet.dwon: 0.5}", "unet.dwon: 0.5", "unet.down"),
        ("{unet.down.7: 2}", "unet.down.7: 2", "unet.down.0"),
        ("{te: 2}", "te: 2", "unet"),
        ("{/attn3/: 2}", "/attn3/: 2", "unet"),
    ]:
        with pytest.raises(ScopeMismatch) as caught:
            scope_of(text).require_matches(unet, table)
        assert f"{{{rule}}}: the rule has none of the {len(unet)} adapted modules" in str(caught.value)
        assert nearest in str(caught.value).partition("in: ")[2].rstrip(".").split(", ")
    scope_of("{unet: 1, /attn2/: 2, unet.down.1: 0}").require_matches(unet, table)


def test_a_rule_that_later_rules_hide_still_counts_as_matched() -> None:
    scope_of("{unet.down: 0.5, unet: 1}").require_matches(["unet.down_blocks.0.resnets.0.conv1"], architecture("sd15"))


def test_the_two_forms_of_a_block_and_of_a_slash_are_one() -> None:
    assert Block("unet.down_blocks.1") == Block("unet.down.1")
    assert Block("text_encoder") == Block("te")
    assert Pattern(r"a\/b") == Pattern("a/b")


def test_a_scope_put_together_by_hand_is_refused_like_a_typed_one() -> None:
    with pytest.raises(RecipeError, match="needs a rule"):
        Scope(())
    with pytest.raises(RecipeError, match="selector is empty"):
        Rule(Block(" "), 1.0)
    for expression in ("", "a\nb", "(", "a" * 201):
        with pytest.raises(RecipeError, match="regular expression"):
            Pattern(expression)


@pytest.mark.parametrize("expression", ["(a+)+b", "(a|a)*b", "((x*))+y", "(a?){2,}b", "(?:(ab)+)*c", r"(\d|[0-9])+z"])
def test_an_expression_that_could_take_forever_is_refused(expression: str) -> None:
    with pytest.raises(RecipeError, match="forever"):
        Pattern(expression)


@pytest.mark.parametrize(
    "expression",
    [r"\(a+\)+", "[(+*]+", r"attentions\.\d+\..*to_[qkv]$", "(attn1|attn2)", "(ab)+c", "(?<=attn)2", "(to_q|to_k)?x$"],
)
def test_an_expression_that_ends_soon_is_searched_for(expression: str) -> None:
    assert not Pattern(expression).selects("unet." + "b" * 100)
