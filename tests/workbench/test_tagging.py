import pytest

from registry import InvalidQuery, NotFound, Registry
from workbench.errors import InvalidSettings
from workbench.tagging import put_tag, take_tag


@pytest.mark.parametrize(
    ("said", "tags"),
    [("approved", {"approved": ""}), ("for=print, a", {"for": "print, a"}), (" a = b=c ", {"a": "b=c"})],
)
def test_a_tag_is_a_key_or_a_key_and_its_value(stocked: Registry, said: str, tags: dict[str, str]) -> None:
    assert [one.tags for one in put_tag(stocked, ["soft", "fast"], said)] == [tags, tags]
    assert [one.tags for one in take_tag(stocked, ["soft", "fast"], said)] == [{}, {}]


def test_all_of_them_get_it_or_none(stocked: Registry) -> None:
    with pytest.raises(NotFound):
        put_tag(stocked, ["soft", "nothing"], "approved")
    assert stocked.get("soft").tags == {}


def test_everything_that_a_query_finds_gets_it(stocked: Registry) -> None:
    put_tag(stocked, [], "checked", where="kind:style,acceleration")
    assert {one.model for one in stocked.search(tags=["checked"])} == {"soft", "fast"}
    with pytest.raises(InvalidQuery, match="empty query means everything"):
        put_tag(stocked, [], "checked", where="")


@pytest.mark.parametrize("said", ["", "  ", "=", "=yes", " = yes"])
def test_a_tag_without_a_name_is_refused(stocked: Registry, said: str) -> None:
    for change in (put_tag, take_tag):
        with pytest.raises(InvalidSettings, match="a tag without a name"):
            change(stocked, ["soft"], said)
