"""A grid's cells as they are painted, each with the way to Compose; its job, and its files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import streamlit as st

from registry import CorruptBlob, NotFound
from ui.web.following.asking import wish_buttons
from ui.web.following.words import progress_bar, state_badge
from ui.web.navigation import COMPOSE, link_to_job, link_to_page
from ui.web.pictures import Blobs, thumbnail
from ui.web.refusals import show_refusal
from ui.web.veil import BLURRED, is_hidden, unveil_pictures
from ui.web.words import plain
from workbench.grids.files import write_grid
from workbench.grids.planning import GridPlan, Panel, painted_cells
from workbench.jobs.estimates import seconds_left
from workbench.jobs.queueing import UNDER_WAY, queue_of
from workbench.painting.marks import marked_cells
from workbench.recipes.snippets import Scene, link_parameters

if TYPE_CHECKING:
    from registry import Preview, Registry
    from registry.jobs import Job
    from workbench.grids.cells import Cell

REFRESH_SECONDS = 1.0
CELL_WIDTH = 104  # pixels, at least: on a phone the grid scrolls sideways
WIDEST = 23
"""Columns that are shown; Streamlit has 24, and one is for the rows' labels."""

MOST_SHOWN = 400
UNPAINTED = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="384" height="384">'
    '<rect width="96" height="96" fill="#8f8880" fill-opacity="0.14"/>'
    '<path d="M42 48h12" stroke="#8f8880" stroke-width="2" stroke-linecap="round"/></svg>'
)
"""Stands for a cell that is not painted yet: quiet on the light and on the dark page."""

FILES = {".png": "image/png", ".html": "text/html", ".csv": "text/csv", ".json": "application/json"}


@dataclass(frozen=True)
class Pictures:
    """What is painted by now, by the cells' keys, and where it lies."""

    painted: "Mapping[str, Preview]"
    blobs: Blobs
    blurred: frozenset[str]
    """The keys of those that are not to be seen as they are."""


def show_cells(registry: "Registry", plan: GridPlan) -> None:
    """The job that paints, the cells, looked at again and again while it does, and the files."""
    job, marked = _job(registry), marked_cells(registry, plan)
    unveil_pictures(is_marked=bool(marked))
    is_under_way = job is not None and job.state in UNDER_WAY
    st.fragment(_living, run_every=REFRESH_SECONDS if is_under_way else None)(registry, plan, job, marked)
    _downloads(registry, plan)


def _job(registry: "Registry") -> "Job | None":
    """The job that the URL names; None where it is none of a grid."""
    number = st.query_params.get("job", "")
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        return None
    try:
        job = queue_of(registry).get(int(number))
    except NotFound:
        return None
    return job if job.kind == "grid" else None


def _living(registry: "Registry", plan: GridPlan, shown: "Job | None", marked: frozenset[str]) -> None:
    if shown is not None:
        job = queue_of(registry).get(shown.id)
        if (job.state in UNDER_WAY) != (shown.state in UNDER_WAY):
            st.rerun()
        show_refusal()
        _under_way(registry, job)
    painted = painted_cells(registry, plan)
    st.caption(f"{len(painted):,} of {len(plan.keys):,} pictures are painted")
    if len(plan.columns) > WIDEST or len(plan.cells) > MOST_SHOWN:
        st.info(
            f"{len(plan.columns)} columns and {len(plan.cells)} cells are more than this page shows"
            f" ({WIDEST} and {MOST_SHOWN}); download the HTML and zoom into it.",
            icon=":material/zoom_in:",
        )
        return
    blurred = marked if is_hidden(is_marked=bool(marked)) else frozenset()
    pictures = Pictures(painted, Blobs(registry, (preview.picture for preview in painted.values())), blurred)
    for number, panel in enumerate(plan.panels):
        _panel(plan, pictures, number, panel)


def _under_way(registry: "Registry", job: "Job") -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        link_to_job(job.id, f"Job {job.id}")
        state_badge(job)
        wish_buttons(job, has_keys=True)
    if job.state in UNDER_WAY:
        progress_bar(job, seconds_left(registry, [job]).get(job.id))
    if job.last_error and job.state != "succeeded":
        st.error(plain(job.last_error), icon=":material/error:")


def _panel(plan: GridPlan, pictures: Pictures, number: int, panel: Panel) -> None:
    """One sheet: the values of x above its columns, those of y beside its rows."""
    shared = [panel.prompt] if panel.prompt is not None else []
    shared += [f"seed {panel.seed}"] if panel.seed is not None else []
    st.caption(plain(" · ".join(shared)))
    labelled = plan.y is not None
    columns = len(plan.columns) + labelled
    grid = st.grid(columns, wrap=False, min_column_width=CELL_WIDTH, gap="xsmall")
    if labelled:
        with grid.cell():
            st.caption(plain(f"{plan.y.title if plan.y else ''} ↓ {plan.x.title} →"))
    for value in plan.columns:
        with grid.cell():
            st.markdown(f"**{plain(plan.x.label(value))}**")
    for i, beside in enumerate(plan.rows):
        if plan.y is not None and beside is not None:
            with grid.cell():
                st.markdown(f"**{plain(plan.y.label(beside))}**")
        for j in range(len(plan.columns)):
            with grid.cell():
                cell = plan.cell(i, j, number)
                _cell(pictures, cell)


def _cell(pictures: Pictures, cell: "Cell") -> None:
    preview = pictures.painted.get(cell.key)
    if preview is None:
        st.image(UNPAINTED, width="stretch", alt="not painted yet")
        return
    try:
        thumb = thumbnail(preview.picture, pictures.blobs, blurred=cell.key in pictures.blurred)
    except CorruptBlob as error:
        st.warning(plain(str(error)), icon=":material/broken_image:")
        return
    st.image(thumb, width="stretch", alt=BLURRED if cell.key in pictures.blurred else f"Painted with {cell.recipe}")
    scene = Scene(cell.recipe, cell.base, cell.prompt, cell.seed, cell.sampling)
    link_to_page(COMPOSE, "Adopt", ":material/tune:", **{**link_parameters(scene), "seed": str(cell.seed)})


def _downloads(registry: "Registry", plan: GridPlan) -> None:
    """The grid as it is painted so far, made when somebody clicks."""
    with st.container(horizontal=True, gap="small"):
        for suffix, kind in FILES.items():
            st.download_button(
                suffix.removeprefix(".").upper(),
                _file(registry, plan, suffix),
                f"grid{suffix}",
                kind,
                on_click="ignore",
                icon=":material/download:",
            )


def _file(registry: "Registry", plan: GridPlan, suffix: str) -> Callable[[], bytes]:
    def content() -> bytes:
        with TemporaryDirectory(prefix="tau-grid-") as folder:
            (path,) = write_grid(registry, plan, Path(folder) / f"grid{suffix}")
            return path.read_bytes()

    return content
