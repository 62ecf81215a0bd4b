"""What is measured of a vector once and kept beside its version, so that a verdict reads no tensor."""

import logging
from typing import TYPE_CHECKING

from workbench.recipes.architectures import Architectures
from workbench.recipes.references import resolve

if TYPE_CHECKING:
    from arithmetic import Measures, Vector
    from registry import Registry, Version

LOGGER = logging.getLogger(__name__)

VECTOR = "vector"
"""The kind of what identification calls an adapter."""


def measures_of(registry: "Registry", version: "Version", vector: "Vector") -> "Measures":
    """The measures of a version, opened as `vector`: those that were recorded, or taken now and recorded."""
    from arithmetic import measure

    recorded = recorded_measures(registry, version)
    if recorded is not None and recorded.covers(vector):
        return recorded
    found = measure(vector)
    record_measures(registry, version, found)
    return found


def recorded_measures(registry: "Registry", version: "Version") -> "Measures | None":
    """What was recorded of a version; None where nothing was, or only what another release wrote."""
    from arithmetic import Measures, UnknownMeasures

    content = registry.measurements.of(version)
    if content is None:
        return None
    try:
        return Measures.from_bytes(content)
    except UnknownMeasures as error:
        LOGGER.info("%s: %s", version.ref, error)
        return None


def record_measures(registry: "Registry", version: "Version", found: "Measures") -> None:
    """Keep the measures of a version, in the place of earlier ones."""
    is_finite = not found.non_finite
    norm = found.largest_norm if is_finite else None
    registry.measurements.record(version, found.to_bytes(), largest_norm=norm, is_finite=is_finite)


def measure_version(registry: "Registry", version: "Version") -> "Measures | None":
    """Measure a version that was just registered; None for what is no vector of a known family.

    A file that cannot be opened as a vector is registered all the same: whoever uses it is told why.
    """
    if version.kind == "base" or not version.facts or version.facts.get("kind", VECTOR) != VECTOR:
        return None
    known = Architectures(registry)
    if known.of(version) is None:
        return None
    from arithmetic import AlgebraError
    from formats import FormatError

    try:
        return measures_of(registry, version, known.open(resolve(registry, version.ref)))
    except (AlgebraError, FormatError) as error:
        LOGGER.info("%s was not measured: %s", version.ref, error)
        return None
