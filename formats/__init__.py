"""What a weight file is: safetensors headers, key layouts, architecture tables, identification and hashes."""

from formats.adapter_files import AdapterFile, open_adapter
from formats.architecture import (
    COMPONENTS,
    Architecture,
    ModuleKind,
    ModuleSpec,
    architecture,
    component_of,
    known_architectures,
)
from formats.digests import Digests, digest
from formats.errors import (
    FolderError,
    FormatError,
    HeaderError,
    NotAnAdapter,
    UnknownArchitecture,
    UnknownLayout,
    UnknownModule,
)
from formats.findings import Finding, Identification
from formats.folders import architecture_of_folder, is_base_folder
from formats.header import Header, TensorSpec, read_header, read_scalars
from formats.identification import identify
from formats.layouts import FactorKeys, Factors, Located, Misfit, factor_keys, locate
from formats.spellings import Layout

__all__ = [
    "COMPONENTS",
    "AdapterFile",
    "Architecture",
    "Digests",
    "FactorKeys",
    "Factors",
    "Finding",
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
    "TensorSpec",
    "UnknownArchitecture",
    "UnknownLayout",
    "UnknownModule",
    "architecture",
    "architecture_of_folder",
    "component_of",
    "digest",
    "factor_keys",
    "identify",
    "is_base_folder",
    "known_architectures",
    "locate",
    "open_adapter",
    "read_header",
    "read_scalars",
]
