"""What can be wrong with a weight file.

    FormatError
    |-- FileChanged          a file that is written to while it is read
    |-- HeaderError          no readable safetensors file: truncated, too large, no JSON, holes, overlaps, sizes
    |-- FolderError          a folder that lacks what its layout promises
    |-- NotAnAdapter         readable, but no key carries the mark of an adapter
    |-- UnknownLayout        an adapter whose keys are written in no layout that is known for this architecture
    |-- UnknownArchitecture  no table of that name, or a table that cannot be read
    `-- UnknownModule        a module that the architecture does not have

Every message says what, where, got and expected, and the remedy.
"""


class FormatError(Exception):
    """Base of every error of this package."""


class FileChanged(FormatError):
    """The file was written to, or another took its place, while it was read."""


class HeaderError(FormatError):
    """The file is not a safetensors file that the reference reader would accept."""


class FolderError(FormatError):
    """The folder lacks a file that its layout promises."""


class NotAnAdapter(FormatError):
    """No tensor of the file belongs to an adapter."""


class UnknownLayout(FormatError):
    """No key of the adapter is written in a layout known for the architecture."""


class UnknownArchitecture(FormatError):
    """There is no architecture table of that name, or it cannot be read."""


class UnknownModule(FormatError):
    """The architecture has no module of that name."""
