from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

from registry import Registry
from ui.web.comparing.address import MOST
from workbench.jobs.queueing import queue_of

OpenPage = Callable[..., Any]
TWO = ["0.8*soft:1 + fast:1", "hard:1 + fast:1"]


def values(app: AppTest, name: str) -> list[str]:
    """All values of a parameter of the URL."""
    found = app.query_params.get(name, [])
    return [found] if isinstance(found, str) else list(found)


def fields(app: AppTest) -> dict[str, tuple[str, ...]]:
    """Field -> the values of the compositions, as the table has them."""
    rows = app.dataframe[0].value.to_dict("records")
    return {row.pop("field"): tuple(row.values()) for row in rows}


def texts(app: AppTest) -> list[str]:
    return [str(area.value) for area in app.text_area if str(area.key).startswith("compare-recipe")]


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception
    return app


def test_the_url_carries_the_recipes_and_the_table_what_differs(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compare.py", recipe=TWO, prompt="a fox", seed="3")
    assert texts(app) == TWO
    shown = fields(app)
    assert shown["soft: strength"] == ("0.8", "-")
    assert "base" not in shown
    app.toggle(key="compare-only").set_value(False).run()
    assert fields(app)["base"] == ("tiny:1", "tiny:1")


def test_columns_are_written_added_and_removed_up_to_four(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compare.py", recipe=TWO)
    app.text_area(key="compare-recipe-1").set_value("0.3*hard").run()
    [add] = [button for button in app.button if button.label == "Add a composition"]
    add.click().run()
    assert values(app, "recipe") == [TWO[0], "0.3*hard", "0.3*hard"]
    press(app, "compare-remove-0")
    assert texts(app) == ["0.3*hard", "0.3*hard"]
    full = open_page("compare.py", recipe=[TWO[0]] * (MOST + 2))
    assert len(texts(full)) == MOST
    assert [button.disabled for button in full.button if button.label == "Add a composition"] == [True]


def test_all_are_painted_from_the_same_noise_and_only_what_changed_is_painted_again(
    studio: Registry, open_page: OpenPage
) -> None:
    app = press(open_page("compare.py", recipe=TWO, prompt="a fox", seed="3"), "paint-all")
    queue = queue_of(studio)
    specs = {job.id: job.spec for job in queue.list()}
    assert sorted(spec["recipe"] for spec in specs.values()) == sorted(TWO)
    assert all((spec["prompts"], spec["seeds"]) == (["a fox"], [3]) for spec in specs.values())
    before = values(app, "job")
    app.text_area(key="compare-recipe-1").set_value("0.3*hard").run()
    after = values(app, "job")
    assert (after[0] == before[0], after[1] == before[1], len(queue.list())) == (True, False, 3)
    elsewhere = open_page("compare.py", recipe=values(app, "recipe"), job=after, prompt="a fox", seed="3")
    press(elsewhere, "compare-cancel")
    assert {queue.get(int(number)).state for number in after} == {"cancelled"}


def test_what_is_wrong_with_one_is_said_in_its_column_and_stops_no_other(studio: Registry, open_page: OpenPage) -> None:
    app = press(open_page("compare.py", recipe=["soft +", "hard"], prompt="a fox"), "paint-all")
    assert len(app.error) == 1
    assert [job.spec["recipe"] for job in queue_of(studio).list()] == ["hard"]
    assert values(app, "job")[0] == "0"


def test_numbers_that_anybody_typed_are_an_ordinary_page(studio: Registry, open_page: OpenPage) -> None:
    assert texts(open_page("compare.py", recipe=TWO, job=["<b>", "99"], seed="x")) == TWO
    assert texts(open_page("compare.py")) == [""]


def test_an_empty_registry_says_so(registry: Registry, open_page: OpenPage) -> None:
    assert "Nothing to compare yet" in open_page("compare.py").info[0].value
