from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry
from registry.jobs import Job, Queue
from workbench.grids.orders import GridOrder, plan_order
from workbench.grids.planning import GridPlan

OpenPage = Callable[..., AppTest]
ORDER = {"recipe": "0.8*soft + fast", "x": "soft=0,0.5", "y": "fast=0.6,1", "prompt": "a fox"}

pytestmark = pytest.mark.usefixtures("studio")


def plan(registry: Registry, **changes: Any) -> GridPlan:
    """The grid of ORDER."""
    order = {"recipe": ORDER["recipe"], "x": ORDER["x"], "y": ORDER["y"], "prompts": ("a fox",)}
    return plan_order(registry, GridOrder(**{**order, **changes}))


def paint(registry: Registry, plan: GridPlan, picture: Callable[[int], bytes], *places: int) -> None:
    """Keep pictures for the cells at these places."""
    for place in places:
        registry.add_preview("soft:1", {}, picture(place), {}, key=plan.cells[place].key)


def words(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.error, *app.info, *app.code, *app.subheader]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def alts(app: AppTest) -> list[str]:
    """What the pictures of the page are called."""
    return [image.proto.imgs[0].alt for image in app.image]


def button(app: AppTest, beginning: str) -> Any:
    return next(one for one in app.button if one.label.startswith(beginning))


def adopted(app: AppTest) -> list[str]:
    """Where the cells' links lead."""
    links = [link.proto.query_string for link in app.get("page_link") if link.proto.label == "Adopt"]
    return [parse_qs(link)["scene"][0] for link in links]


def test_without_an_axis_it_says_what_can_change(open_page: OpenPage) -> None:
    app = open_page("grid.py")
    assert "papercut=0:1.2:5" in words(app)
    assert button(app, "Strength against").disabled


def test_strength_against_strength_is_proposed_and_written_into_the_fields(open_page: OpenPage) -> None:
    app = button(open_page("grid.py", recipe=ORDER["recipe"], prompt="a fox"), "Strength against").click().run()
    assert (app.text_input(key="x").value, app.text_input(key="y").value) == ("soft=0:1.2:4", "fast=0.6:1.2:3")
    assert "0 of 12 pictures" in words(app)


def test_a_recipe_that_means_nothing_is_said(open_page: OpenPage) -> None:
    app = button(open_page("grid.py", recipe="soft + nobody"), "Strength against").click().run()
    assert "nobody" in words(app)
    assert "nobody" in words(open_page("grid.py", **{**ORDER, "recipe": "nobody"}))


def test_what_is_painted_is_shown_and_can_be_adopted(
    studio: Registry, picture: Callable[[int], bytes], open_page: OpenPage
) -> None:
    grid = plan(studio)
    paint(studio, grid, picture, 0, 3)
    app = open_page("grid.py", **ORDER)
    assert "2 of 4 pictures" in words(app)
    first, last = adopted(app)
    assert "recipe=0%2Asoft+%2B+0.6%2Afast" in first
    assert "prompt=a+fox" in last
    assert "seed=0" in last
    assert "steps=4" in last
    assert button(app, "Paint").label == "Paint 2 cells"


def test_pictures_with_a_marked_model_are_blurred_until_somebody_asks(
    studio: Registry, picture: Callable[[int], bytes], open_page: OpenPage
) -> None:
    axis = "recipe=soft,hard"
    paint(studio, plan(studio, recipe="", x=axis, y=""), picture, 0, 1)
    grid = {"x": axis, "prompt": "a fox"}
    assert alts(open_page("grid.py", **grid)) == ["Painted with soft", "Painted with hard"]
    studio.edit("soft", changes={"nsfw": True})
    app = open_page("grid.py", **grid)
    assert alts(app) == ["Blurred: marked NSFW", "Painted with hard"]
    assert alts(button(app, "Show pictures").click().run()) == ["Painted with soft", "Painted with hard"]


def test_painting_queues_the_grid_and_the_url_follows_its_job(studio: Registry, open_page: OpenPage) -> None:
    app = button(open_page("grid.py", **ORDER), "Paint").click().run()
    (job,) = Queue(studio).list()
    assert (job.kind, job.lane, len(job.spec["cells"])) == ("grid", "interactive", 4)
    assert app.query_params["job"] in (str(job.id), [str(job.id)])
    assert "queued" in words(app)


def test_a_grid_that_is_painted_can_be_cancelled(studio: Registry, open_page: OpenPage) -> None:
    job = grid_job(studio)
    app = open_page("grid.py", **ORDER, job=str(job.id))
    app.button(key=f"cancel-{job.id}").click().run()
    assert Queue(studio).get(job.id).state == "cancelled"


def grid_job(registry: Registry) -> Job:
    return Queue(registry).submit("grid", plan(registry).to_json(), lane="interactive")


@pytest.mark.parametrize("job", ["99", "text", "1"])
def test_a_job_that_is_none_of_a_grid_is_left_out(studio: Registry, open_page: OpenPage, job: str) -> None:
    Queue(studio).submit("style", {})
    assert "queued" not in words(open_page("grid.py", **ORDER, job=job))


def test_a_new_column_leaves_the_others_painted(
    studio: Registry, picture: Callable[[int], bytes], open_page: OpenPage
) -> None:
    paint(studio, plan(studio), picture, 0, 1, 2, 3)
    app = open_page("grid.py", **ORDER)
    assert button(app, "All cells").disabled
    app.text_input(key="more-x").set_value("0.25")
    app.button(key="add-x").click().run()
    assert app.text_input(key="x").value == "soft=0,0.25,0.5"
    assert button(app, "Paint").label == "Paint 2 cells"
    app.text_input(key="more-y").set_value("1.2")
    app.button(key="add-y").click().run()
    assert button(app, "Paint").label == "Paint 5 cells"


def test_a_value_that_does_not_belong_to_the_axis_is_refused(open_page: OpenPage) -> None:
    app = open_page("grid.py", **ORDER)
    app.text_input(key="more-x").set_value("much")
    app.button(key="add-x").click().run()
    assert "is no number" in words(app)
    assert app.text_input(key="x").value == ORDER["x"]


def test_an_axis_can_be_built_from_what_the_recipe_has(open_page: OpenPage) -> None:
    app = open_page("grid.py", recipe=ORDER["recipe"], prompt="a fox")
    assert app.selectbox(key="x-what").options[:3] == ["soft", "fast", "steps"]
    app.text_input(key="x-values").set_value("0,1").run()
    app.button(key="x-use").click().run()
    assert app.text_input(key="x").value == "soft=0,1"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("steps", "8"), ("guidance", "2.0"), ("negative", "fog"), ("solver", "tcd"), ("seed", "7"), ("base", "tiny:1")],
)
def test_what_is_chosen_decides_which_pictures_they_are(
    studio: Registry, picture: Callable[[int], bytes], open_page: OpenPage, parameter: str, value: str
) -> None:
    paint(studio, plan(studio), picture, 0, 1, 2, 3)
    painted = "4 of 4" if parameter == "base" else "0 of 4"
    guided = {"guidance": "2.0"} if parameter == "negative" else {}
    assert f"{painted} pictures" in words(open_page("grid.py", **ORDER, **guided, **{parameter: value}))


def test_several_prompts_are_several_sheets(open_page: OpenPage) -> None:
    app = open_page("grid.py", **{**ORDER, "prompt": "a fox\n\na hare"})
    assert "0 of 8 pictures" in words(app)
    assert {"a fox · seed 0", "a hare · seed 0"} <= set(words(app).splitlines())


def test_a_grid_wider_than_the_page_is_left_to_the_files(open_page: OpenPage) -> None:
    app = open_page("grid.py", **{**ORDER, "x": "soft=0:1.2:24"})
    assert "download the HTML" in words(app)
    assert adopted(app) == []


def test_the_grid_can_be_downloaded_as_it_is(open_page: OpenPage) -> None:
    assert [one.label for one in open_page("grid.py", **ORDER).download_button] == ["PNG", "HTML", "CSV", "JSON"]
