"""What a weight file is: safetensors headers, key layouts, architecture tables, identification and hashes."""

from formats.adapted_modules import AdaptedModule
from formats.adapter_files import AdapterFile, open_adapter
from formats.architecture import (
    COMPONENTS,
    Architecture,
    ModuleKind,
    ModuleSpec,
    all_architectures,
    architecture,
    component_of,
    known_architectures,
)
from formats.digests import Digests, digest, file_sha256
from formats.errors import (
    FileChanged,
    FolderError,
    FormatError,
    HeaderError,
    NotAnAdapter,
    UnknownArchitecture,
    UnknownLayout,
    UnknownModule,
)
from formats.findings import Finding, Identification
from formats.fitting import Fitting, fittings
from formats.folders import architecture_of_folder, is_base_folder
from formats.header import Header, TensorSpec, read_header, read_scalars
from formats.identification import identify
from formats.layout_hash import layout_hash
from formats.layouts import FactorKeys, Located, factor_keys, locate
from formats.matching import Misfit
from formats.metadata import Described, Stated, normalise, scrub
from formats.norms import spec_of
from formats.opaque import pickled_content
from formats.spellings import Layout

__all__ = [
    "COMPONENTS",
    "AdaptedModule",
    "AdapterFile",
    "Architecture",
    "Described",
    "Digests",
    "FactorKeys",
    "FileChanged",
    "Finding",
    "Fitting",
    "FolderError",
    "FormatError",
    "Header",
    "HeaderError",
    "Identification",
    "Layout",
    "Located",
    "Misfit",
    "ModuleKind",
    "ModuleSpec",
    "NotAnAdapter",
    "Stated",
    "TensorSpec",
    "UnknownArchitecture",
    "UnknownLayout",
    "UnknownModule",
    "all_architectures",
    "architecture",
    "architecture_of_folder",
    "component_of",
    "digest",
    "factor_keys",
    "file_sha256",
    "fittings",
    "identify",
    "is_base_folder",
    "known_architectures",
    "layout_hash",
    "locate",
    "normalise",
    "open_adapter",
    "pickled_content",
    "read_header",
    "read_scalars",
    "scrub",
    "spec_of",
]
