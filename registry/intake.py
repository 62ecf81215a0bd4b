"""Registering content: look at it, stage it, then write rows and place bytes in one transaction."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select, update

from formats.architecture import Architecture
from registry.blobs import BlobStore, StagedFile, stage_file
from registry.database import Database
from registry.dialect import upsert
from registry.errors import Conflict, NotFound, Refused
from registry.facts import UNKNOWN, Facts, architecture_json, find_facts, modelspec
from registry.history import record, record_model
from registry.jobs.fencing import hold
from registry.jobs.finishing import finish_held
from registry.jobs.lease import Lease
from registry.labels import move_version, set_tag
from registry.lineage import link
from registry.names import require_slug, slug_of, title_of
from registry.references import find_model, resolve
from registry.search import architecture_rows
from registry.snapshots import snapshot
from registry.sources import Source, SourceFile, open_source
from registry.states import State
from registry.tables import (
    ArchitectureRow,
    ArtifactRow,
    BlobRow,
    LocationRow,
    ModelRow,
    OriginRow,
    RecipeRow,
    VersionRow,
)
from registry.unit_of_work import UnitOfWork
from registry.values import Json, Kind, Origin, Parent, Relation, Version
