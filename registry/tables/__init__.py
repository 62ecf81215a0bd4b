"""The declared schema, one file per noun."""

from registry.tables import search, triggers
from registry.tables.access import FavouriteRow, PrincipalRow, TokenRow, UploadRow
from registry.tables.alias import AliasPeriodRow
from registry.tables.blob import BlobHashRow, BlobRow, LocationRow
from registry.tables.columns import Base
from registry.tables.dataset import DatasetRow
from registry.tables.edge import EdgeRow
from registry.tables.event import EventRow
from registry.tables.facts import AdapterFactsRow, ArchitectureRow
from registry.tables.job import JobEventRow, JobRow, MetricRow
from registry.tables.lookup import LookupRow
from registry.tables.measure import MeasureRow
from registry.tables.model import ModelRow
from registry.tables.preview import PreviewInitRow, PreviewRow
from registry.tables.recipe import CertificateRow, RecipeRow
from registry.tables.version import ArtifactRow, OriginRow, TagRow, VersionRow

metadata = Base.metadata
triggers.attach(metadata)
search.attach(metadata)

__all__ = [
    "AdapterFactsRow",
    "AliasPeriodRow",
    "ArchitectureRow",
    "ArtifactRow",
    "BlobHashRow",
    "BlobRow",
    "CertificateRow",
    "DatasetRow",
    "EdgeRow",
    "EventRow",
    "FavouriteRow",
    "JobEventRow",
    "JobRow",
    "LocationRow",
    "LookupRow",
    "MeasureRow",
    "MetricRow",
    "ModelRow",
    "OriginRow",
    "PreviewInitRow",
    "PreviewRow",
    "PrincipalRow",
    "RecipeRow",
    "TagRow",
    "TokenRow",
    "UploadRow",
    "VersionRow",
    "metadata",
]
