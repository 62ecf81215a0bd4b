"""The third-party warnings and log lines that Tauworks knows, has judged harmless and silences, each by name."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownWarning:
    """One warning: the modules it comes from, how its message begins (regular expressions), why it is harmless here."""

    modules: str
    category: type[Warning]
    message: str
    reason: str


KNOWN_WARNINGS: tuple[KnownWarning, ...] = (
    KnownWarning(
        modules=r"diffusers\.schedulers\.",
        category=FutureWarning,
        message=r"`?algorithm_types dpmsolver and sde-dpmsolver",
        reason="DPM-Solver (2022) is painted as the baseline that the LCM paper compares with; it must stay dpmsolver.",
    ),
    KnownWarning(
        modules=r"diffusers\.schedulers\.",
        category=DeprecationWarning,
        message=r"__array__ implementation doesn't accept a copy keyword",
        reason="torch's Tensor.__array__ predates numpy 2's copy keyword; the copy that it makes is what is wanted.",
    ),
    KnownWarning(
        modules=r"peft\.tuners\.",
        category=UserWarning,
        message=r"Already found a `peft_config` attribute in the model",
        reason="A second vector beside the first is what a composition is.",
    ),
    KnownWarning(
        modules=r"peft\.tuners\.",
        category=UserWarning,
        message=r"Adapter .* was active which is now deleted",
        reason="`detach` sets the strengths of the vectors that stay right afterwards.",
    ),
)


@dataclass(frozen=True)
class KnownMessage:
    """One line that a library logs: its logger, how the line begins (a regular expression), why it is harmless here."""

    logger: str
    message: str
    reason: str

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether logging may pass `record` on."""
        return not re.match(self.message, record.getMessage())


KNOWN_MESSAGES: tuple[KnownMessage, ...] = (
    KnownMessage(
        logger="transformers.utils.import_utils",
        message=r"`\w+ImageProcessor` requires torchvision",
        reason="Those preprocess pictures for a safety checker and for image prompts; Tauworks uses neither.",
    ),
    KnownMessage(
        logger="diffusers.loaders.lora_base",
        message=r"No LoRA keys associated to CLIPTextModel found",
        reason="Most vectors leave the text encoder alone; `attach` checks itself that every module found its place.",
    ),
    KnownMessage(
        logger="diffusers.loaders.peft",
        message=r"No LoRA keys associated to UNet2DConditionModel found",
        reason="A vector may reach the text encoder alone; `attach` checks itself that every module found its place.",
    ),
    KnownMessage(
        logger="diffusers.models.modeling_utils",
        message=r"There are modules in \w+ that should be kept in float32: \[\]\.",
        reason="The list of them is empty.",
    ),
    *(
        KnownMessage(
            logger=f"diffusers.schedulers.scheduling_{solver}",
            message=r"The (first timestep on the |number of timesteps in the )?custom timestep schedule",
            reason="The timesteps are those that the vector was made for, or that were asked for one by one.",
        )
        for solver in ("lcm", "tcd")
    ),
)


def silence_known_messages() -> None:
    """Keep exactly KNOWN_MESSAGES out of the logs, from now on."""
    for known in KNOWN_MESSAGES:
        logger = logging.getLogger(known.logger)
        if known not in logger.filters:
            logger.addFilter(known)


@contextmanager
def known_warnings_silenced() -> Iterator[None]:
    """Silence exactly KNOWN_WARNINGS; every other warning passes as it would without."""
    with warnings.catch_warnings():
        for known in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", known.message, known.category, known.modules)
        yield
