"""The declared schema, one file per noun."""

from registry.tables import triggers
from registry.tables.alias import AliasPeriodRow
from registry.tables.blob import BlobRow, LocationRow
from registry.tables.columns import Base
from registry.tables.dataset import DatasetRow
from registry.tables.edge import EdgeRow
from registry.tables.event import EventRow
from registry.tables.facts import AdapterFactsRow, ArchitectureRow
from registry.tables.job import JobEventRow, JobRow, MetricRow
from registry.tables.model import ModelRow
from registry.tables.preview import PreviewRow
from registry.tables.recipe import CertificateRow, RecipeRow
from registry.tables.version import ArtifactRow, OriginRow, TagRow, VersionRow

metadata = Base.metadata
triggers.attach(metadata)

__all__ = [
    "AdapterFactsRow",
    "AliasPeriodRow",
    "ArchitectureRow",
    "ArtifactRow",
    "BlobRow",
    "CertificateRow",
    "DatasetRow",
    "EdgeRow",
    "EventRow",
    "JobEventRow",
    "JobRow",
    "LocationRow",
    "MetricRow",
    "ModelRow",
    "OriginRow",
    "PreviewRow",
    "RecipeRow",
    "TagRow",
    "VersionRow",
    "metadata",
]
