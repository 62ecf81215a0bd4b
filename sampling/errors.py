"""What can go wrong while painting.

SamplingError
├── BaseUnreadable        a folder is no Stable-Diffusion base that diffusers can open
├── UnknownSolver         a solver name that is not in SOLVERS
├── UnsupportedSetting    a setting that the chosen solver, or any solver, cannot honour
├── VectorMismatch        a vector that does not fit the base, or a name attached twice or not at all
├── UnknownDevice         a device that this machine does not have
├── TooLittleMemory       a painting that does not fit on its device in any way
├── JudgeUnreadable       a folder is no judge
├── ClipUnreadable        a folder is no CLIP model, or the package that scores with one is missing
├── RecordRefused         a picture's record lacks a setting or carries an empty or wrong hash
├── NoRecord              a picture carries no record of Tauworks
└── Cancelled             somebody asked the painting to stop
"""


class SamplingError(Exception):
    """Base of every error that this package raises on purpose."""


class BaseUnreadable(SamplingError):
    """A folder is no base that diffusers can open as a StableDiffusionPipeline."""


class UnknownSolver(SamplingError):
    """No solver has this name."""


class UnsupportedSetting(SamplingError):
    """A sampling setting that cannot be honoured."""


class VectorMismatch(SamplingError):
    """A vector does not fit the base, or its name is attached already or not at all."""


class UnknownDevice(SamplingError):
    """A device that this machine does not have."""


class TooLittleMemory(SamplingError):
    """A painting that does not fit on its device in any way."""


class JudgeUnreadable(SamplingError):
    """A folder is no classifier whose labels read "head=value"."""


class ClipUnreadable(SamplingError):
    """A folder is no CLIP model that transformers can open, or torchmetrics is not installed."""


class RecordRefused(SamplingError):
    """A picture's record is incomplete or carries a hash that is none."""


class NoRecord(SamplingError):
    """A picture carries no record of how it was painted."""


class Cancelled(SamplingError):
    """The painting was stopped between two denoising steps."""
