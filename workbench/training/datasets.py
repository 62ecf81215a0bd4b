"""Data sets as a person names them: a folder, parquet files, tar shards, or a repository of the Hub."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill_jobs import Dataset, Reading
    from distill_jobs.data.dataset import Survey
    from distill_jobs.data.reading import Source

HUB = "hf://"
CORRUPT_LIST = "corrupt-pictures.txt"
"""Every corrupt picture of a job's data set with its reason, in the job's folder."""


@dataclass(frozen=True)
class Located:
    """Where a data set lies on this machine, the name by which a job finds it again, and what its origin says."""

    where: str
    pinned: str
    uri: str | None = None
    title: str | None = None
    revision: str | None = None
    license: str | None = None

    def named(self, dataset: "Dataset") -> "Dataset":
        """The data set with what its origin says."""
        said = {"uri": self.uri, "title": self.title, "revision": self.revision, "license": self.license}
        return replace(dataset, **{name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True)
class DatasetReport:
    """What is in a data set: the corrupt pictures by place and reason, and of the others what training would see."""

    uri: str
    kind: str
    revision: str | None
    license: str | None
    pictures: int
    fingerprint: str | None
    """None where no picture is left."""
    corrupt: tuple[str, ...]
    captions: Mapping[str, int]
    """distinct, empty, and the longest one's length in characters"""
    sizes: Mapping[str, Any]
    """distinct, and the smallest and the largest [width, height] by area"""
    ok: bool
    """Whether it can be trained on as it was asked to be read."""


def locate(text: str, *, endpoint: str | None = None, cache: Path | None = None) -> Located:
    """Find a data set; one of the Hub is downloaded. `endpoint` and `cache` are the Hub client's own where None."""
    if text.startswith(HUB):
        from workbench.training.hub_datasets import bring_dataset, parse_dataset_address

        came = bring_dataset(parse_dataset_address(text), endpoint=endpoint, cache=cache)
        title = came.address.repo.split("/")[1]
        return Located(came.where, came.pinned, came.address.uri, title, came.commit, came.license)
    path = Path(text).expanduser()
    here = str(path.resolve() if path.exists() else path.absolute())
    return Located(here, here)


def open_dataset(
    text: str, reading: "Reading | None" = None, *, endpoint: str | None = None, cache: Path | None = None
) -> "Dataset":
    """Read and check a data set. Raises DatasetError and its kinds, and for the Hub's what downloads raise."""
    from distill_jobs import read_dataset

    located = locate(text, endpoint=endpoint, cache=cache)
    return located.named(read_dataset(located.where, reading))


def reading_of(values: Mapping[str, Any]) -> "Reading":
    """How a data set is read. Raises InvalidSettings, which names what is unknown or wrong."""
    from distill_jobs import Reading
    from workbench.training.orders import checked

    return checked(Reading, values)


def check_dataset(
    text: str, reading: "Reading | None" = None, *, endpoint: str | None = None, cache: Path | None = None
) -> DatasetReport:
    """Read a whole data set and say what is in it; corrupt pictures are listed, and anything else wrong is raised."""
    from distill_jobs import Reading
    from distill_jobs.data.dataset import survey
    from distill_jobs.data.sources import source_of

    reading = reading or Reading()
    located = locate(text, endpoint=endpoint, cache=cache)
    source = source_of(located.where, reading)
    return _report(located, source, survey(source), skip_corrupt=reading.skip_corrupt)


def _report(located: Located, source: "Source", surveyed: "Survey", *, skip_corrupt: bool) -> DatasetReport:
    from distill_jobs.data.dataset import dataset_of

    captions = [entry.caption for entry in surveyed.entries]
    sizes = sorted({entry.size for entry in surveyed.entries}, key=lambda size: (size[0] * size[1], size))
    return DatasetReport(
        uri=located.uri or source.uri,
        kind=source.kind,
        revision=located.revision,
        license=located.license,
        pictures=len(surveyed.entries),
        fingerprint=dataset_of(source, surveyed).fingerprint if surveyed.entries else None,
        corrupt=surveyed.corrupt,
        captions={
            "distinct": len(set(captions)),
            "empty": captions.count(""),
            "longest": max(map(len, captions), default=0),
        },
        sizes={"distinct": len(sizes), **_extremes(sizes)},
        ok=bool(surveyed.entries) and (skip_corrupt or not surveyed.corrupt),
    )


def _extremes(sizes: list[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {"smallest": sizes[0], "largest": sizes[-1]} if sizes else {}
