"""How fast a large catalog answers: `python -m benchmarks.catalog --database URL --versions 1000000`.

An empty database is filled first; one that holds that many versions already is asked as it is.
"""

import argparse
import json
import os
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select, text

from benchmarks.catalog_queries import Question, mixes
from benchmarks.catalog_rows import Catalog, load
from registry import Registry
from registry.tables import VersionRow

LIMIT_MS = 50.0


def main() -> None:
    """Fill the database where it is empty, ask, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True, help="sqlite:///FILE or postgresql+psycopg://...; empty or filled")
    parser.add_argument("--versions", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=200, help="of each class")
    parser.add_argument("--passes", type=int, default=3, help="warm ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        seconds = fill(Path(home), options.database, options.versions, options.seed)
        figures = measure(Path(home), options)
    document = {"machine": machine(), "database": _database(options.database), "versions": options.versions}
    document |= {"filled_in_seconds": seconds, "figures": figures}
    print_table(document)
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")


def fill(home: Path, url: str, versions: int, seed: int) -> float | None:
    """Load the catalog where there is none; the seconds that it took. Another number of versions is refused."""
    with Registry.open(home, url) as registry:
        there = _count(registry.database.engine)
        if there == versions:
            return None
        if there:
            raise SystemExit(f"{url} holds {there:,} versions, expected none or {versions:,}. Name an empty database.")
        began = time.perf_counter()
        load(registry.database.engine, Catalog(versions, seed))
        return time.perf_counter() - began


def measure(home: Path, options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of every class: a cold pass, each question once, then the warm ones in another order."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with Registry.open(home, options.database) as registry:
        asked = mixes(registry, options.versions, options.questions, options.seed)
    for mix in asked:
        drop_cached_pages(options.database)
        with Registry.open(home, options.database) as registry:
            stopwatch = Stopwatch(registry)
            cold = [stopwatch.measure(question) for question in mix.questions]
            places = list(range(len(mix.questions))) * options.passes
            random.Random(options.seed).shuffle(places)
            warm = [stopwatch.measure(mix.questions[place]) for place in places]
        figures[mix.name] = {
            "cold": summary([wall for wall, _ in cold]),
            "warm": summary([wall for wall, _ in warm]),
            "processor": summary([used for _, used in warm]),
        }
    return figures


class Stopwatch:
    """Milliseconds that a question takes, and those that this process and the server's spend on a processor for it.

    The second is the first where nothing else runs. A server on another machine is not seen: only our part is counted.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._server: Path | None = None
        if registry.database.engine.dialect.name == "postgresql":
            with registry.database.reading() as uow:
                number = uow.session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            statistics = Path(f"/proc/{number}/schedstat")
            self._server = statistics if statistics.exists() else None

    def measure(self, question: Question) -> tuple[float, float]:
        """One question, asked once."""
        used, began = self._used(), time.perf_counter()
        question(self.registry)
        return (time.perf_counter() - began) * 1000, (self._used() - used) * 1000

    def _used(self) -> float:
        """Seconds on a processor so far; the pool hands out one connection, so one server process does the work."""
        server = int(self._server.read_text().split()[0]) / 1e9 if self._server else 0.0
        return time.process_time() + server


def summary(times: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum."""
    ordered = sorted(times)
    at = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2) for name, share in at.items()}


def drop_cached_pages(url: str) -> None:
    """Have the operating system forget a SQLite file; what a server keeps in memory cannot be dropped from here."""
    if not url.startswith("sqlite:///"):
        return
    for path in Path(url.removeprefix("sqlite:///")).parent.glob(f"{Path(url).name}*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def print_table(document: dict[str, Any]) -> None:
    """The figures as a Markdown table; bold is beyond the limit."""
    print(f"{document['versions']:,} versions, {document['database']}, {document['machine']}\n")
    print("| question | cold p50 | cold p95 | warm p50 | warm p95 | warm max | processor p50 | processor p95 |")
    print("|---|---|---|---|---|---|---|---|")
    for name, figure in document["figures"].items():
        cold, warm, used = figure["cold"], figure["warm"], figure["processor"]
        cells = [cold["p50"], cold["p95"], warm["p50"], warm["p95"], warm["max"], used["p50"], used["p95"]]
        shown = (f"**{cell:.1f}**" if cell > LIMIT_MS else f"{cell:.1f}" for cell in cells)
        print(f"| {name} | {' | '.join(shown)} |")


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(VersionRow)).scalar_one()


def machine() -> str:
    """What it was measured on."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def _database(url: str) -> str:
    if url.startswith("sqlite"):
        return f"SQLite {sqlite3.sqlite_version}"
    with tempfile.TemporaryDirectory() as home, Registry.open(Path(home), url) as registry:
        connection = registry.database.engine.connect()
        with connection:
            return f"PostgreSQL {connection.execute(text('SHOW server_version')).scalar_one().split()[0]}"


if __name__ == "__main__":
    main()
