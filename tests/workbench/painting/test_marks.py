"""Whether models that are marked NSFW take part in what was painted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry
from registry.jobs import Job
from workbench.grids.axes import Axis
from workbench.grids.planning import plan_grid
from workbench.intake.importing import import_file
from workbench.jobs.queueing import queue_of
from workbench.painting.marks import is_job_marked, is_marked, marked_cells


@pytest.fixture
def hard_file(tmp_path: Path, lora: Callable[..., bytes]) -> Path:
    """A vector that no model of the registry has."""
    path = tmp_path / "hard.safetensors"
    path.write_bytes(lora(seed=1))
    return path


@pytest.fixture
def marked(stocked: Registry, hard_file: Path) -> Registry:
    """`tiny`, `soft` and `fast`, and the style `hard`, which is marked."""
    import_file(stocked, hard_file, name="hard", kind="style")
    stocked.edit("hard", changes={"nsfw": True})
    return stocked


@pytest.mark.parametrize(
    ("recipe", "base", "expected"),
    [
        ("0.5*fast + hard", "tiny:1", True),
        ("ties(0.5*hard:1, 0.5*fast)", "tiny:1", True),
        ("fast", "tiny:1", False),
        ("fast", "hard", True),
        ("nobody + ./hard.safetensors", "nobody", False),
    ],
)
def test_each_model_of_a_recipe_is_looked_at(marked: Registry, recipe: str, base: str, expected: bool) -> None:
    assert is_marked(marked, [recipe], base) is expected


@pytest.mark.parametrize(
    ("recipe", "x", "y", "expected"),
    [
        ("", "recipe=hard,soft", "steps=1,2", [True, False, True, False]),
        ("", "steps=1,2", "recipe=hard,soft", [True, True, False, False]),
        ("hard", "hard=0.5,1", "", [True, True]),
        ("soft", "soft=0.5,1", "", [False, False]),
        ("{file}", "steps=1,2", "", [True, True]),
    ],
)
def test_of_a_grid_those_cells_are_marked_whose_recipe_has_the_model(
    marked: Registry, hard_file: Path, recipe: str, x: str, y: str, expected: list[bool]
) -> None:
    axes = {"x": Axis.parse(x), "y": Axis.parse(y) if y else None}
    plan = plan_grid(marked, recipe.format(file=hard_file), prompts=("a fox",), base="tiny", **axes)
    found = marked_cells(marked, plan)
    assert [cell.key in found for cell in plan.cells] == expected


@pytest.mark.parametrize(
    "spec",
    [{"recipe": "0.5*hard + fast"}, {"base": "hard"}, {"acceleration": "hard:1"}, {"name": "hard", "base": "tiny:1"}],
)
def test_a_job_is_marked_by_what_it_was_told(marked: Registry, spec: dict[str, str]) -> None:
    assert is_job_marked(marked, queue_of(marked).submit("style", spec))
    other = {key: value.replace("hard", "soft") for key, value in spec.items()}
    assert not is_job_marked(marked, queue_of(marked).submit("style", other))


def test_a_job_is_marked_by_what_came_out_of_it(marked: Registry) -> None:
    painted = {"sha256": "ab" * 32, "record": {"locked": f"0.5*sha256:{marked.get('hard').artifacts[0].sha256}"}}
    assert is_job_marked(marked, finished(marked, {"pictures": [painted]}))
    assert is_job_marked(marked, finished(marked, {"version": "hard:1"}))
    assert not is_job_marked(marked, finished(marked, {"pictures": [{"sha256": "ab" * 32}]}))


def finished(registry: Registry, result: dict[str, object]) -> Job:
    """A job that ended with this result."""
    queue = queue_of(registry)
    job = queue.submit("preview", {})
    lease = queue.claim("studio")
    assert lease is not None
    queue.finish(lease, result)
    return queue.get(job.id)
