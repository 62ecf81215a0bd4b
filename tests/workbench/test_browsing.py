from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from registry import InvalidQuery, Registry
from workbench.browsing import Browsed, Filter, browse, filter_values, filtered_query


@pytest.mark.parametrize(
    ("filters", "query"),
    [
        ([], "papercut"),
        ([Filter("kind", "style"), Filter("kind", "base")], "papercut kind:base,style"),
        ([Filter("kind", "style", True), Filter("kind", "base", True)], "papercut -kind:base -kind:style"),
        ([Filter("family", "sd15"), Filter("family", "sdxl", True)], "papercut family:sd15 -family:sdxl"),
        ([Filter("tag", "approved"), Filter("tag", "print=a, b")], 'papercut tag:approved tag:"print=a, b"'),
        ([Filter("license", "none", True), Filter("nsfw", "yes", True)], "papercut -license:none -nsfw:yes"),
    ],
)
def test_filters_are_conditions_of_the_query(filters: list[Filter], query: str) -> None:
    assert filtered_query("papercut", filters) == query


def test_a_value_that_would_be_read_as_two_is_refused_beside_another() -> None:
    with pytest.raises(InvalidQuery, match="one of several"):
        filtered_query("", [Filter("license", "a,b"), Filter("license", "c")])
    assert filtered_query("", [Filter("license", "a,b")]) == 'license:"a,b"'


def test_a_text_that_is_no_query_is_refused_with_the_place() -> None:
    with pytest.raises(InvalidQuery, match=r"\n  knd:style\n  \^"):
        filtered_query("knd:style", [])


@pytest.fixture
def papers(registry: Registry, tmp_path: Path) -> Registry:
    """Three styles in their own order of time, the first of them with a picture and kept at hand."""
    for size, name in enumerate(("one", "two", "three"), 1):
        path = tmp_path / f"{name}.safetensors"
        save_file({"values": torch.zeros(size)}, path)
        registry.add(path, kind="other", tags={"made": name})
    registry.add_preview("one", {}, b"picture", {})
    registry.favourite("one")
    return registry


def refs(browsed: Browsed) -> list[str]:
    """The references of a page, in order."""
    return [version.ref for version in browsed.page.versions]


def test_a_page_comes_with_its_pictures_and_what_the_reader_keeps(papers: Registry) -> None:
    found = browse(papers, "kind:other")
    assert refs(found) == ["three:1", "two:1", "one:1"]
    assert {ref: cover.picture for ref, cover in found.covers.items()} == {"one:1": papers.previews("one")[0].picture}
    assert found.favourites == {"one"}


def test_pages_follow_each_other_in_every_order(papers: Registry) -> None:
    orders = {"newest": ["three", "two", "one"], "oldest": ["one", "two", "three"], "name": ["one", "three", "two"]}
    for sort, names in orders.items():
        first = browse(papers, "", sort=sort, limit=2)
        second = browse(papers, "", sort=sort, limit=2, after=first.page.cursor)
        assert refs(first) + refs(second) == [f"{name}:1" for name in names]


def test_matches_are_counted_where_that_is_asked_for(papers: Registry) -> None:
    assert browse(papers, "tag:made", counted=True).page.total == "3"
    assert browse(papers, "tag:made").page.count is None
    assert browse(papers, "kind:base", counted=True).page.total == "0"


def test_what_can_be_filtered_by_includes_what_this_catalog_has(papers: Registry) -> None:
    values = filter_values(papers)
    assert values["tag"] == ("made",)
    assert values["favourite"] == (papers.database.actor,)
    assert {"sd15", "sdxl", "unknown"} <= set(values["family"])


def test_every_value_on_offer_is_a_query(papers: Registry) -> None:
    for key, values in filter_values(papers).items():
        for value in values:
            for excluded in (False, True):
                browse(papers, filtered_query("", [Filter(key, value, excluded)]))
