"""A made-up catalog of any size: seeded rows, written straight into the tables of a SQLite or PostgreSQL database."""

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text

from registry.tables.search import FILL

SYLLABLES = (
    *("ba", "cu", "dra", "el", "fo", "gri", "hal", "in", "jo", "kan", "lu", "mir"),
    *("nox", "or", "pla", "qui", "ras", "sto", "tan", "ul", "ver", "wyn", "xi", "yar", "zen"),
)
VOCABULARY = 20_000
TAGS = {"subject": 5_000, "medium": 2_000, "mood": 1_000, "project": 20_000, "batch": 50_000}
TOP_SHARE = 0.3
"""The share of versions with the most frequent value of a tag; the rarest are on one version or none."""

KINDS = {"style": 70, "composition": 15, "other": 8, "acceleration": 4, "base": 3}
FAMILIES = {"sdxl": 45, "sd15": 40, "unknown": 10, "sd21": 3, "ssd1b": 2}
STATES = {"published": 85, "draft": 8, "deprecated": 5, "archived": 2}
LICENSES = {"openrail++": 30, "creativeml-openrail-m": 30, None: 20, "apache-2.0": 8, "mit": 7, "cc-by-nc-4.0": 5}
ADAPTERS = {"lora": 75, "locon": 10, "loha": 6, "lokr": 6, "lora+dora": 3}
RANKS = {32: 30, 16: 20, 64: 20, 128: 15, 8: 10, 4: 5}
CHAINS = 100
"""Compositions that are made from each other: each continues one of so many chains."""

BATCH = 20_000
START = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS: dict[str, Sequence[str]] = {
    "blob": ("sha256", "size", "blake3", "created_at", "state"),
    "model": (
        *("id", "slug", "title", "kind", "description", "license", "owner", "next_number", "created_at"),
        *("license_flags", "nsfw"),
    ),
    "version": (
        *("id", "model_id", "number", "digest", "state", "author", "note", "recommended_strength", "trigger_words"),
        *("sampling", "created_at"),
    ),
    "artifact": ("version_id", "path", "role", "blob_sha256", "media_type"),
    "adapter_facts": (
        *("version_id", "identifier", "kind", "family", "adapter", "layout", "rank", "alpha", "dtype", "modules"),
        *("parameters", "architecture", "identification", "confidence", "dora"),
    ),
    "origin": ("version_id", "kind", "uri", "embedded"),
    "tag": ("version_id", "key", "value"),
    "edge": ("id", "child_id", "parent_id", "relation", "weight", "position", "created_at"),
    "alias_period": ("id", "model_id", "version_id", "name", "since"),
}
Rows = dict[str, list[tuple[Any, ...]]]


class Vocabulary:
    """Words and tags with their frequencies: few are everywhere, most are rare."""

    def __init__(self, seed: int, words: int = VOCABULARY) -> None:
        draw = random.Random(f"vocabulary {seed}")
        made = {"".join(draw.choices(SYLLABLES, k=draw.randint(2, 4))) for _ in range(4 * VOCABULARY)}
        self.words = sorted(made)
        draw.shuffle(self.words)
        del self.words[words:]
        self._summed = list(itertools.accumulate(1 / (place + 6) for place in range(words)))
        self.values = {key: [f"{key[0]}{place}" for place in range(count)] for key, count in TAGS.items()}
        self.shares = {key: _shares(count) for key, count in TAGS.items()}
        self._tags_summed = {key: list(itertools.accumulate(shares)) for key, shares in self.shares.items()}

    def draw(self, random: random.Random, count: int) -> list[str]:
        """Words, each as often as it is frequent."""
        return random.choices(self.words, cum_weights=self._summed, k=count)

    def tags(self, random: random.Random) -> list[tuple[str, str]]:
        """One value of each tag."""
        return [(key, random.choices(self.values[key], cum_weights=self._tags_summed[key])[0]) for key in TAGS]


def _shares(count: int) -> list[float]:
    """Zipf with the exponent by which the first has its share and all make one."""
    low, high = 0.5, 3.0
    for _ in range(50):
        middle = (low + high) / 2
        total = sum(TOP_SHARE / (place + 1) ** middle for place in range(count))
        low, high = (middle, high) if total > 1 else (low, middle)
    return [TOP_SHARE / (place + 1) ** high for place in range(count)]


class Catalog:
    """The rows of `versions` versions in the order in which they were made, their ids `step` apart."""

    def __init__(self, versions: int, seed: int, *, words: int = VOCABULARY, step: int = 1) -> None:
        self.versions = versions
        self.step = step
        self._random = random.Random(f"catalog {seed}")
        self._vocabulary = Vocabulary(seed, words)
        self._models: list[list[Any]] = []  # slug, title, kind, description, license, next number, made at
        self._bases: list[int] = []
        self._vectors: list[int] = []
        self._chains: list[int | None] = [None] * CHAINS
        self._edges = itertools.count(1)
        self._aliases = itertools.count(1)

    def batches(self) -> Iterator[Rows]:
        """All rows, some versions at a time; the models come last, when their numbers are known."""
        for first in range(1, self.versions + 1, BATCH):
            rows: Rows = {table: [] for table in COLUMNS}
            for key in range(first, min(first + BATCH, self.versions + 1)):
                self._add(rows, key * self.step)
            yield rows
        made = [self._model_row(place + 1, model) for place, model in enumerate(self._models)]
        for first in range(0, len(made), BATCH):
            yield {"model": made[first : first + BATCH]}

    def _add(self, rows: Rows, key: int) -> None:
        at = (START + timedelta(seconds=30 * key)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        model_id, model = self._model(at)
        digest = hashlib.sha256(f"version {key}".encode()).hexdigest()
        blob = hashlib.sha256(f"blob {key}".encode()).hexdigest()
        number, model[5] = model[5], model[5] + 1
        pick = self._pick
        rows["blob"].append((blob, 150_000_000 + key, digest, at, "present"))
        words = json.dumps(self._vocabulary.draw(self._random, 1))
        rows["version"].append(
            (key, model_id, number, digest, pick(STATES), f"author{self._zipf(5_000)}", None, 0.8, words, "{}", at)
        )
        rows["artifact"].append((key, "weights.safetensors", "weights", blob, "application/vnd.safetensors"))
        rows["origin"].append((key, "file", f"/library/{key}.safetensors", "{}"))
        rows["tag"] += [(key, *tag) for tag in self._vocabulary.tags(self._random)]
        if model[2] != "other":
            rows["adapter_facts"].append(self._facts(key, model[2]))
        self._connect(rows, key, model[2], at)
        if self._random.random() < 0.05:
            rows["alias_period"].append((next(self._aliases), model_id, key, f"v{number}", at))
        if number == 1 and self._random.random() < 0.3:
            rows["alias_period"].append((next(self._aliases), model_id, key, "production", at))

    def _model(self, at: str) -> tuple[int, list[Any]]:
        """A new model for three versions in ten, else one of the last ten thousand models."""
        if not self._models or self._random.random() < 0.3:
            first, second, *title = self._vocabulary.draw(self._random, 5)
            slug = f"{first}-{second}-{len(self._models):x}"
            description = " ".join(self._vocabulary.draw(self._random, 9))
            license = self._pick(LICENSES)
            self._models.append([slug, " ".join([first, *title]), self._pick(KINDS), description, license, 1, at])
            return len(self._models), self._models[-1]
        place = self._random.randrange(max(0, len(self._models) - 10_000), len(self._models))
        return place + 1, self._models[place]

    @staticmethod
    def _model_row(key: int, model: list[Any]) -> tuple[Any, ...]:
        slug, title, kind, description, license, following, at = model
        return key, slug, title, kind, description, license, "bench", following, at, "{}", False

    def _facts(self, key: int, kind: str) -> tuple[Any, ...]:
        family, adapter, rank = self._pick(FAMILIES), self._pick(ADAPTERS), self._pick(RANKS)
        if kind == "base":
            adapter, rank = "none", None
        evidence = [f"all 722 adapted modules are {family}'s and every shape fits, cross attention reads 2048 features"]
        said = {
            "family": {"value": family, "confidence": 0.99, "evidence": evidence},
            "adapter": {"value": adapter, "confidence": 1.0, "evidence": ["722 modules end in lora_up and lora_down"]},
            "layout": {"value": "kohya", "confidence": 1.0, "evidence": ["keys begin lora_unet_"]},
            "rank": rank,
            "alpha": 16.0,
            "dtype": "F16",
            "modules": 722,
            "parameters": 45_875_200,
            "hashes": None,
            "warnings": [],
        }
        sort = "base" if kind == "base" else "vector"
        return (
            *(key, "1", sort, family, adapter, "kohya", rank, 16.0, "F16", 722, 45_875_200),
            *(family, json.dumps(said), 0.99, False),
        )

    def _connect(self, rows: Rows, key: int, kind: str, at: str) -> None:
        """Vectors belong to a base, few of which have nearly all; compositions continue their chain."""
        if kind == "base" or not self._bases:
            self._bases.append(key)
            return
        if kind == "other":
            return
        base = self._bases[min(self._zipf(len(self._bases)), len(self._bases) - 1)]
        rows["edge"].append((next(self._edges), key, base, "adapter_of", None, 0, at))
        if kind != "composition":
            self._vectors.append(key)
            return
        place = self._random.randrange(CHAINS)
        parents = [self._chains[place], self._random.choice(self._vectors) if self._vectors else None]
        for position, parent in enumerate(parents):
            if parent is not None:
                rows["edge"].append((next(self._edges), key, parent, "composed_from", 0.5, position, at))
        self._chains[place] = key

    def _pick(self, shares: Mapping[Any, int]) -> Any:
        return self._random.choices(list(shares), weights=list(shares.values()))[0]

    def _zipf(self, count: int) -> int:
        """A place from 0, the first ones far more often."""
        return int(count ** self._random.random()) - 1


def load(engine: Engine, catalog: Catalog) -> None:
    """Write the catalog into an empty database at the newest schema, then build what its triggers would have kept."""
    if engine.dialect.name == "sqlite":
        _load_sqlite(engine, catalog)
    else:
        _load_postgresql(engine, catalog)


def _load_sqlite(engine: Engine, catalog: Catalog) -> None:
    kept = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('trigger', 'index')"
    with engine.connect() as connection:
        raw = connection.connection.cursor()
        for pragma in ("foreign_keys = OFF", "synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY"):
            raw.execute(f"PRAGMA {pragma}")
        made = list(raw.execute(kept))
        raw.execute("BEGIN")
        for kind, name, _ in made:
            raw.execute(f"DROP {kind} {name}")
        for rows in catalog.batches():
            for table, values in rows.items():
                columns = COLUMNS[table]
                marks = ", ".join("?" * len(columns))
                raw.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
        indexes = [sql for kind, _, sql in made if kind == "index"]
        triggers = [sql for kind, _, sql in made if kind == "trigger"]
        for statement in (*indexes, *FILL["sqlite"], *triggers):
            raw.execute(statement)
        raw.execute("COMMIT")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.invalidate()


def _load_postgresql(engine: Engine, catalog: Catalog) -> None:
    listed = (
        "SELECT indexname, indexdef, tablename = 'search_entry' FROM pg_indexes WHERE schemaname = 'public' "
        "AND indexname NOT IN (SELECT conname FROM pg_constraint) AND tablename <> 'alembic_version' ORDER BY 3, 1"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text("SET maintenance_work_mem = '512MB'"))
        indexes = connection.execute(text(listed)).all()
        for name, _, _ in indexes:
            connection.execute(text(f'DROP INDEX "{name}"'))
        for rows in catalog.batches():
            _copy(connection, rows)
        before, after = ([made for _, made, is_of_search in indexes if is_of_search == late] for late in (False, True))
        for statement in (*before, "ANALYZE", *FILL["postgresql"], *after, "VACUUM ANALYZE"):
            connection.exec_driver_sql(statement)
        for table in ("edge", "alias_period"):
            connection.exec_driver_sql(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")
        connection.invalidate()


def _copy(connection: Connection, rows: Rows) -> None:
    cursor = connection.connection.cursor()
    for table, values in rows.items():
        with cursor.copy(f"COPY {table} ({', '.join(COLUMNS[table])}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
