"""Laws of the recipe as a tree: its text, its references, its locked form."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import (
    AlgebraError,
    Block,
    BlockList,
    Call,
    Group,
    OptionSignature,
    Pattern,
    Recipe,
    RecipeError,
    Reference,
    Rule,
    Scope,
    Signature,
    Stage,
    Sum,
    Term,
    parse,
    with_stage,
)

SIGNATURES = {
    "ties": Signature(
        options={
            "density": OptionSignature("float"),
            "seed": OptionSignature("int"),
            "majority": OptionSignature("bool"),
            "dialect": OptionSignature("choice", ("peft", "merge kit", "true", "1e3", "x-y")),
        }
    ),
    "on_base": Signature((1, 1)),
    "tsv-m": Signature((0, 2)),
}
VALUES = {
    "density": st.floats(-1e30, 1e30).map(lambda number: number + 0.0),
    "seed": st.integers(-(10**20), 10**20),
    "majority": st.booleans(),
    "dialect": st.sampled_from(SIGNATURES["ties"].options["dialect"].choices),
}

numbers = st.floats(-1e30, 1e30).map(lambda number: number + 0.0)
names = st.one_of(
    st.text(string.ascii_lowercase + string.digits + "._-", min_size=1),
    st.text(min_size=1).filter(str.strip),
    st.sampled_from(
        [
            "papercut@production",
            "lcm-sd15:2",
            "sha256:ab12cd34",
            "./a b.safetensors",
            "./a{1}#2.safetensors",
            "~/x/y.safetensors",
            "./a\u2003b",
            "007",
            "1e-3",
            "a+b",
            "ties",
            "ties(a)",
            "true",
            "else",
        ]
    ),
)
selectors = st.one_of(
    st.sampled_from(["unet", "te", "text_encoder_2", "unet.down", "unet.mid_block.attentions.0", "else", "lbw"]),
    st.text(min_size=1).filter(str.strip),
).map(Block) | st.sampled_from(["attn2", r"to_[qk]$", "a/b", r"a\/b", r"\\/", r"\d+\.norm", '"quoted" {#}']).map(
    Pattern
)
lists = st.sampled_from([12, 17, 20, 26]).flatmap(lambda n: st.lists(numbers, min_size=n, max_size=n))
rules = st.builds(Rule, selectors, numbers) | lists.map(lambda factors: BlockList(tuple(factors)))
scopes = st.builds(Scope, st.lists(rules, min_size=1, max_size=3).map(tuple), st.just(1.0) | numbers)
stages = st.one_of(
    st.builds(Stage, st.just("rank"), st.tuples(st.integers(1, 10**6))),
    st.builds(Stage, st.just("energy"), st.tuples(st.floats(0, 1, exclude_min=True))),
    st.builds(Stage, st.just("error"), st.tuples(st.floats(0, 1, exclude_max=True))),
)


def _terms(atoms: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(Term, st.just(1.0) | numbers, atoms, st.lists(scopes, max_size=2).map(tuple))


def _sums(atoms: st.SearchStrategy, least_stages: int, most_stages: int) -> st.SearchStrategy:
    several = st.lists(_terms(atoms), min_size=1, max_size=3).map(tuple)
    return st.builds(Sum, several, st.lists(stages, min_size=least_stages, max_size=most_stages).map(tuple))


def _calls(atoms: st.SearchStrategy) -> st.SearchStrategy:
    arguments = st.lists(_sums(atoms, 0, 0), min_size=1, max_size=2).map(tuple)
    options = st.fixed_dictionaries({}, optional=VALUES).map(lambda given: tuple(given.items()))
    return st.one_of(
        st.builds(Call, st.just("ties"), arguments, options),
        st.builds(Call, st.just("on_base"), st.tuples(_sums(atoms, 0, 0))),
        st.builds(Call, st.just("tsv-m"), st.just(()) | arguments),
    )


atoms = st.recursive(names.map(Reference), lambda inner: _calls(inner) | _sums(inner, 1, 2).map(Group), max_leaves=4)
recipes = st.builds(
    lambda total, dtype: Recipe(total.terms, total.stages + dtype),
    _sums(atoms, 0, 3),
    st.sampled_from([(), (Stage("dtype", ("fp16",)),), (Stage("dtype", ("bf16",)),)]),
)


@given(recipes)
def test_parsing_what_was_printed_gives_the_same_recipe(recipe: Recipe) -> None:
    again = parse(str(recipe), signatures=SIGNATURES)
    assert again == recipe
    assert str(again) == str(recipe)


@given(recipes)
def test_a_recipe_file_reads_what_was_printed_as_the_same_recipe(recipe: Recipe) -> None:
    assert parse(f"# first\n{recipe}  # last", signatures=SIGNATURES, comments=True) == recipe


@given(recipes)
def test_locking_replaces_every_reference_in_the_tree_and_nothing_else(recipe: Recipe) -> None:
    numbered = {name: f"sha256:{position:08x}" for position, name in enumerate(recipe.references)}
    locked = recipe.lock(numbered.__getitem__)
    assert locked.references == tuple(numbered.values())
    assert parse(str(locked), signatures=SIGNATURES) == locked
    back = {digest: name for name, digest in numbered.items()}
    assert locked.lock(back.__getitem__) == recipe


def test_locking_reaches_methods_groups_and_extractions() -> None:
    text = (
        "0.5*a - './b c' + ties(a, 2*d; density=0.3)"
        " + (a + e | rank(8)){unet: 0} + extract(x - y; rank=4) | dtype(fp16)"
    )
    assert parse(text).references == ("a", "./b c", "d", "e", "x", "y")
    assert str(parse(text).lock(lambda name: f"sha256:{name[-1] * 4}")) == (
        "0.5*sha256:aaaa - sha256:cccc + ties(sha256:aaaa, 2*sha256:dddd; density=0.3)"
        " + (sha256:aaaa + sha256:eeee | rank(8)){unet: 0} + extract(sha256:xxxx - sha256:yyyy; rank=4) | dtype(fp16)"
    )


def test_a_term_of_one_reference_says_which_and_any_other_refuses() -> None:
    one, call, group = parse("0.5*a + 2*ties(a, b) + (a | rank(1))").terms
    assert one.reference == "a"
    for several in (call, group):
        with pytest.raises(AlgebraError, match="no single reference"):
            _ = several.reference


def test_the_precision_is_fp32_unless_a_stage_says_otherwise() -> None:
    assert parse("a").dtype == "fp32"
    assert parse("a | dtype(bf16)").dtype == "bf16"


def test_the_precision_is_said_last_and_the_other_stages_keep_their_order() -> None:
    assert str(parse("a | rank(64) | dtype(fp16) | energy(0.9) | rank(8)")) == (
        "a | rank(64) | energy(0.9) | rank(8) | dtype(fp16)"
    )


def test_a_stage_is_appended_where_the_recipe_does_not_end_with_it() -> None:
    recipe = parse("a | dtype(fp16)")
    ranked = with_stage(recipe, Stage("rank", (64,)))
    assert str(ranked) == "a | rank(64) | dtype(fp16)"
    assert with_stage(ranked, Stage("rank", (64,))) == ranked
    assert str(with_stage(ranked, Stage("rank", (32,)))) == "a | rank(64) | rank(32) | dtype(fp16)"
    assert str(with_stage(parse("a"), Stage("dtype", ("bf16",)))) == "a | dtype(bf16)"


def test_another_precision_than_the_recipe_asks_for_is_refused() -> None:
    recipe = parse("a | dtype(fp16)")
    assert with_stage(recipe, Stage("dtype", ("fp16",))) == recipe
    with pytest.raises(RecipeError, match=r"asks for dtype\(fp16\), not dtype\(fp32\)"):
        with_stage(recipe, Stage("dtype", ("fp32",)))


def test_what_no_text_says_cannot_be_put_together() -> None:
    term = Term(1.0, Reference("a"))
    with pytest.raises(RecipeError, match="at least one term"):
        Sum(())
    with pytest.raises(RecipeError, match="a group has a stage"):
        Group(Sum((term,)))
    with pytest.raises(RecipeError, match="twice"):
        Recipe((term,), (Stage("dtype", ("fp16",)), Stage("dtype", ("fp16",))))
