from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import InvalidQuery
from registry.search.query import KEYS, Condition, Query, Term, conditions_of, parse_query, tag_conditions, words_of

PARTS = st.one_of(
    st.text(alphabet="abcé*%_-1 ", min_size=1, max_size=8).map(lambda text: text.replace(" ", "x")).filter(words_of),
    st.text(max_size=8).filter(words_of).map(lambda text: str(Term(text, exact=True))),
    st.tuples(st.sampled_from(sorted(KEYS)), st.text(max_size=8)).map(lambda said: str(Condition(said[0], (said[1],)))),
    st.tuples(st.sampled_from(["kind", "tag"]), st.lists(st.text("abc=.", min_size=1, max_size=4), min_size=1)).map(
        lambda said: f"-{said[0]}:{','.join(said[1])}"
    ),
)


@given(st.lists(PARTS, max_size=5))
def test_the_text_of_a_query_reads_back_as_the_same_query(parts: list[str]) -> None:
    query = parse_query(" ".join(parts))
    assert parse_query(str(query)) == query


def test_words_phrases_patterns_and_conditions_stand_side_by_side() -> None:
    query = parse_query('papercut -blur "two  words" *cut* kind:style,base -tag:"for print=a, b" rank:16..64')
    assert query == Query(
        (
            Term("papercut"),
            Term("blur", excluded=True),
            Term("two  words", exact=True),
            Term("*cut*"),
        ),
        (
            Condition("kind", ("style", "base")),
            Condition("tag", ("for print=a, b",), excluded=True),
            Condition("rank", ("16..64",)),
        ),
    )
    assert [term.is_pattern for term in query.terms] == [False, False, False, True]


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ('papercut "open', 9, "a quote that does not end"),
        ("famly:sd15", 0, "did you mean family:"),
        ("a -zzz:1", 3, "keys are adapter, alias"),
        ("-since:2025-01-01", 1, "since: cannot be excluded"),
        ("*", 0, "* holds no word"),
        ("**", 0, "** holds no word"),
        ("a* *", 3, "* holds no word"),
        ("a -*", 2, "tag:KEY"),
        ('a -"!?"', 2, "tag:KEY"),
        ("a -", 2, "- holds no word"),
    ],
)
def test_what_cannot_be_read_is_shown_with_its_place(text: str, place: int, reason: str) -> None:
    with pytest.raises(InvalidQuery) as refusal:
        parse_query(text)
    *_, shown, caret = str(refusal.value).splitlines()
    assert (shown, caret) == (f"  {text}", f"  {' ' * place}^")
    assert reason in str(refusal.value)


def test_keyword_arguments_are_conditions_and_an_unknown_one_is_refused() -> None:
    said = {"kind": ["style", "base"], "rank": 64, "favourite_of": "ann", "nsfw": False, "base": None}
    assert conditions_of(said) == (
        Condition("kind", ("style", "base")),
        Condition("rank", ("64",)),
        Condition("favourite", ("ann",)),
        Condition("nsfw", ("no",)),
    )
    since = datetime(2025, 3, 1, tzinfo=UTC)
    assert conditions_of({"since": since}) == (Condition("since", (since.isoformat(),)),)
    with pytest.raises(InvalidQuery, match="'colour' is no key"):
        conditions_of({"colour": "red"})


def test_tags_are_a_mapping_of_values_or_a_list_of_texts() -> None:
    assert tag_conditions({"approved": "yes"}) == tag_conditions(["approved=yes"])
    assert tag_conditions({"approved": ""}) != tag_conditions(["approved"])


def test_words_are_cut_as_the_indexes_cut_them() -> None:
    assert words_of("Pastel_Art-v2.0, Crème BRÛLÉE!") == ("pastel", "art", "v2", "0", "creme", "brulee")
    assert words_of("\\ %") == ()
