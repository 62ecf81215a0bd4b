"""Opens the weights of a base: a diffusers folder, a checkpoint in one file, or a U-Net alone."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from torch import Tensor

from arithmetic.errors import AlgebraError, MissingModule
from arithmetic.weights.mapped import MappedFile
from arithmetic.weights.naming import Naming, in_diffusers, namings_of_file
from arithmetic.weights.places import Located, Part, Place, locate, named_tensors
from formats import Architecture, Header, file_sha256, is_base_folder, read_header
from formats.bases import unet_folder_headers
from formats.folders import component_headers, shards_of


@dataclass(frozen=True)
class WeightFile:
    """One file of a base: `group` is the folder that it lies in, relative to the base; '.' for a single file."""

    header: Header
    group: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    @property
    def name(self) -> str:
        """Its path within the base, with `/`."""
        return str(PurePosixPath(self.group) / self.path.name)


class Weights:
    """A base's own tensors by module, read one at a time through memory maps."""

    def __init__(self, path: Path, name: str, architecture: Architecture, files: Sequence[WeightFile], found: Located):
        self.path = path
        self.name = name
        self.architecture = architecture
        self.files = tuple(files)
        self.modules: Mapping[str, Place] = found.places
        self.misfits = found.misfits
        self._mapped = {file.path: MappedFile(file.header) for file in files}
        self._shapes = {module: named.shape for module, named in named_tensors(architecture).items()}

    def __repr__(self) -> str:
        return f"Weights({self.name!r}, {len(self.modules)} tensors, {self.architecture.name})"

    @property
    def is_folder(self) -> bool:
        """Whether the base is a folder, or one file."""
        return self.path.is_dir()

    def place(self, module: str) -> Place:
        """Where the tensor of `module` lies.

        Raises:
            MissingModule: the base has none, or one of another size.
        """
        if module in self.modules:
            return self.modules[module]
        misfit = next((misfit for misfit in self.misfits if misfit.module == module), None)
        if misfit is not None:
            raise MissingModule(
                f"{self.name}: {module} is {misfit.got}, the table of {self.architecture.name} has {misfit.expected}. "
                "Use a base of this architecture, or import it so that it has a table of its own."
            )
        raise MissingModule(
            f"{self.name}: has no {module}. Use a base that has it, or leave the component out of the recipe."
        )

    def weight(self, module: str) -> Tensor:
        """The tensor of `module` in the shape that the table says, in its stored dtype: a view of the file's pages."""
        place = self.place(module)
        stored = self._mapped[place.file].tensor(place.key)
        if place.rows is not None:
            stored = stored[slice(*place.rows)]
        return (stored.T if place.transposed else stored).reshape(self._shapes[module])

    def dtype_tag(self, module: str) -> str:
        """The dtype of `module`'s tensor, as safetensors spells it."""
        place = self.place(module)
        return self._mapped[place.file].header.tensors[place.key].dtype

    def mapped(self, file: Path) -> MappedFile:
        """One of the base's files."""
        return self._mapped[file]

    @cached_property
    def parts(self) -> Mapping[tuple[Path, str], tuple[Part, ...]]:
        """(file, key) -> the modules within that tensor, by their rows; a key that is not here is *carried*."""
        found: dict[tuple[Path, str], list[Part]] = defaultdict(list)
        for module, place in self.modules.items():
            found[place.file, place.key].append(Part(module, place.rows, place.transposed))
        return {at: tuple(sorted(parts, key=lambda part: part.rows or (0, 0))) for at, parts in found.items()}

    @cached_property
    def carried(self) -> tuple[tuple[Path, str], ...]:
        """(file, key) of the tensors that belong to no module: VAE, position ids, averages of training."""
        keys = ((file.path, key) for file in self.files for key in file.header.tensors)
        return tuple(at for at in keys if at not in self.parts)

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """The weights of the table that the base lacks: of a U-Net alone, all those of the text encoders."""
        return tuple(module for module in self.architecture.modules if module not in self.modules)

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file by its name within the base; read once, then known."""
        return {file.name: file_sha256(file.path) for file in self.files}

    @cached_property
    def sha256(self) -> str:
        """The digest of the one file, or over the sorted names and digests of several."""
        if list(self.digests) == [self.path.name] and not self.is_folder:
            return next(iter(self.digests.values()))
        lines = sorted(f"{name}\0{digest}\n" for name, digest in self.digests.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @cached_property
    def content(self) -> Hashable:
        """Equal for two bases exactly when their weight files are."""
        return tuple(sorted(self.digests.items()))


def open_weights(
    path: Path | str, architecture: Architecture, name: str | None = None, digests: Mapping[str, str] | None = None
) -> Weights:
    """The weights of the base at `path`, looked up in `architecture`; no tensor is read.

    Args:
        path: a diffusers folder, a U-Net's folder, or a file: a checkpoint or a U-Net, in either dialect of names; for
            one that is cut into shards, their index.
        architecture: the module table.
        name: how messages call it; by default the file's.
        digests: SHA-256 by name within the base, where they are known, to spare reading the files.

    Raises:
        AlgebraError: nothing in it is a module of the architecture.
        HeaderError, FolderError: files that are missing or malformed.
    """
    path = Path(path)
    files, headers, namings = _folder(path, architecture) if path.is_dir() else _file(path, architecture)
    found = locate(headers, namings, architecture)
    if not found.places:
        raise AlgebraError(
            f"{path.name}: holds no module of {architecture.name}. Use a base of this architecture: a diffusers "
            "folder, or a checkpoint as safetensors."
        )
    weights = Weights(path, name or path.stem, architecture, files, found)
    if digests is not None:
        weights.digests = dict(digests)
    return weights


Parts = tuple[list[WeightFile], dict[str, Sequence[Header]], dict[str, Sequence[Naming]]]


def _file(path: Path, architecture: Architecture) -> Parts:
    headers = [read_header(file) for file in (shards_of(path) if path.suffix == ".json" else [path])]
    components = architecture.components
    namings = {component: namings_of_file(component, architecture) for component in components}
    return [WeightFile(header, ".") for header in headers], dict.fromkeys(components, headers), namings


def _folder(path: Path, architecture: Architecture) -> Parts:
    components = architecture.components
    if is_base_folder(path):
        headers = {component: component_headers(path, component) for component in components}
        files = [WeightFile(header, component) for component, own in headers.items() for header in own]
    else:
        headers = {"unet": unet_folder_headers(path)}
        files = [WeightFile(header, ".") for header in headers["unet"]]
    if not files:
        raise AlgebraError(f"{path}: neither a diffusers pipeline nor a U-Net. Point at a base's folder or file.")
    return files, dict(headers), {component: [in_diffusers(component)] for component in headers}
