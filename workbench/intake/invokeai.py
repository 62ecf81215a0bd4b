"""Imports the models that an InvokeAI installation knows, with what its users wrote about them.

InvokeAI keeps one JSON document a model in its SQLite database: `models(id, config, ...)` since version 4,
`model_config(id, config, ...)` in version 3; every other column is computed from the document. Paths in it are
absolute, or relative to the folder of models (version 4 and later) or to the installation (before).
The database is opened to be read only.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.documents import parse_document
from workbench.errors import NotImportable
from workbench.intake.library import Tally, Wish, extent_of, is_unchanged, take
from workbench.intake.report import ImportReport
from workbench.intake.scanning import LeftOut, candidate_of
from workbench.intake.sidecars import Sidecars, number_of, own_words, words_of
from workbench.intake.statements import attach
from workbench.pace import Tell

if TYPE_CHECKING:
    from registry import Registry
    from registry.lookups import Statement

TABLES = ("models", "model_config")
DATABASE = ("databases", "invokeai.db")
MODELS_FOLDER = "models"
PICTURES_FOLDER = "model_images"
KINDS = {"lora": None, "lycoris": None, "main": "base"}
"""InvokeAI's types that are kept here -> our kind; None: the file itself says which."""

SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class InvokeModel:
    """One model as InvokeAI describes it."""

    key: str
    config: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """InvokeAI's word for what it is."""
        return str(self.config.get("type", "unknown"))

    @property
    def name(self) -> str:
        """The name that its users see."""
        return own_words(self.config.get("name")) or self.key

    @property
    def uri(self) -> str:
        """How its versions say where they came from."""
        return f"invokeai:{self.key}"

    def path(self, root: Path) -> Path:
        """Where its files are, in an installation at `root`."""
        said = Path(str(self.config.get("path", "")))
        places = (root / MODELS_FOLDER / said, root / said)
        return said if said.is_absolute() else next((path for path in places if path.exists()), places[0])

    def picture(self, root: Path) -> Path | None:
        """Its cover picture, if it has one."""
        path = root / MODELS_FOLDER / PICTURES_FOLDER / f"{Path(self.key).name}.webp"
        return path if path.is_file() else None


def find_invokeai(path: Path) -> Path | None:
    """The database of the InvokeAI installation that `path` is, or is the database of; None for anything else."""
    database = path.joinpath(*DATABASE) if path.is_dir() else path
    if not database.is_file():
        return None
    with database.open("rb") as file:
        is_sqlite = file.read(len(SQLITE)) == SQLITE
    return database if is_sqlite else None


def import_invokeai(
    registry: "Registry",
    path: Path,
    *,
    draft: bool = False,
    in_place: bool = False,
    dry_run: bool = False,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ImportReport:
    """Register the bases and vectors of an InvokeAI installation, or of its database file.

    Files that were imported before and did not change are not read again; what InvokeAI says of them is. What cannot
    be registered is named with the reason, and the rest goes on. Raises NotImportable.
    """
    database = find_invokeai(path)
    if database is None:
        raise NotImportable(f"{path}: no InvokeAI database; give the installation's folder or its invokeai.db")
    root = database.parents[1] if database.parent.name == DATABASE[0] else database.parent
    tally = Tally()
    wishes = list(_wishes(registry, read_models(database), root, tally, dry_run=dry_run))
    if dry_run:
        return tally.would_import(wishes)
    return take(
        registry, wishes, tally, extent_of(wishes), draft=draft, in_place=in_place, tell=tell, cancelled=cancelled
    )


def read_models(database: Path) -> list[InvokeModel]:
    """The models of an InvokeAI database, by key. Raises NotImportable where it is none or cannot be read."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            table = next((table for table in TABLES if table in names), None)
            if table is None:
                raise NotImportable(f"{database}: no table {' or '.join(TABLES)}; is it InvokeAI's?")
            rows = connection.execute(f"SELECT id, config FROM {table} ORDER BY id").fetchall()
    except sqlite3.Error as error:
        raise NotImportable(f"{database}: cannot be read ({error}); stop InvokeAI and try again") from error
    return [InvokeModel(str(key), _config(database, str(key), config)) for key, config in rows]


def statement_of(model: InvokeModel) -> "Statement":
    """What InvokeAI says about a model. Its trigger phrases and strengths are its users' own."""
    from registry.lookups import Offer, Statement

    config = model.config
    settings = config.get("default_settings")
    defaults: Mapping[str, Any] = settings if isinstance(settings, dict) else {}
    low, high = number_of(defaults.get("weight_min")), number_of(defaults.get("weight_max"))
    has_range = low is not None and high is not None and low <= high
    offer = Offer(
        title=own_words(config.get("name")),
        description=own_words(config.get("description")),
        trigger_words=words_of(config.get("trigger_phrases")),
        recommended_strength=number_of(defaults.get("weight")),
        recommended_low=low if has_range else None,
        recommended_high=high if has_range else None,
    )
    return Statement("invokeai", model.uri, dict(config), offer)


def _config(database: Path, key: str, text: str | bytes) -> dict[str, Any]:
    try:
        return parse_document(text)
    except ValueError as error:
        raise NotImportable(f"{database}: the record of model {key} {error}; repair it in InvokeAI") from error


def _wishes(
    registry: "Registry", models: list[InvokeModel], root: Path, tally: Tally, *, dry_run: bool
) -> Iterator[Wish]:
    """What is new or changed; what is not is described again, because its record may say something new."""
    from registry import Origin
    from registry.arrivals import version_holding
    from registry.known_files import known_files

    for model in models:
        path = model.path(root)
        if model.kind not in KINDS:
            tally.left.append(LeftOut(path, f"{model.name} is of InvokeAI's type {model.kind}: not cataloged"))
            continue
        if ".." in path.parts:
            tally.left.append(LeftOut(path, f"{model.name}: its path leads out of the installation"))
            continue
        candidate = candidate_of(path)
        if isinstance(candidate, LeftOut):
            tally.left.append(candidate)
            continue
        known = known_files(registry.database, [file.path for file in candidate.files])
        if not is_unchanged(candidate, known):
            hash_ = own_words(model.config.get("hash"))
            origin = Origin("invokeai", model.uri, hash_)
            about = (partial(beside, model, root), model.name, KINDS[model.kind], origin, partial(doubts, model, root))
            yield Wish(candidate, *about)
            continue
        tally.unchanged += 1
        sha256 = known[candidate.files[0].path].sha256
        ref = version_holding(registry.database, sha256, model.uri)
        if ref is not None and not dry_run:
            only = sha256 if len(candidate.files) == 1 else None
            tally.left.extend(attach(registry, ref, beside(model, root), only) + doubts(model, root, registry, only))


def beside(model: InvokeModel, root: Path) -> Sidecars:
    """InvokeAI's words and picture."""
    return Sidecars((statement_of(model),), model.picture(root))


def doubts(model: InvokeModel, root: Path, registry: "Registry", sha256: str | None) -> tuple[LeftOut, ...]:
    """Say so where the bytes are no longer those that InvokeAI installed."""
    from registry.origins import other_digests

    algorithm, _, digest = str(model.config.get("hash", "")).partition(":")
    found = other_digests(registry.database, sha256) if algorithm == "blake3" and sha256 else None
    if found is None or found.blake3 == digest:
        return ()
    reason = f"changed since InvokeAI installed it: blake3 {found.blake3}, InvokeAI's is {digest}; imported as it is"
    return (LeftOut(model.path(root), reason),)
