"""What the registry knows of a recipe's vectors, as a verdict asks for it."""

from typing import TYPE_CHECKING, cast

from workbench.recipes.resolving import ResolvedRecipe

if TYPE_CHECKING:
    from arithmetic import Dossier, Finding, Known, SamplingSettings
    from arithmetic.verdict.known import Role
    from registry import Registry, Version


def known_of(
    registry: "Registry | None", resolved: ResolvedRecipe, settings: "SamplingSettings | None" = None
) -> "Known":
    """The dossiers of the recipe's vectors and its base, and what the licences forbid of the sum."""
    from arithmetic import Known

    versions = {version.ref: version for _, _, version in resolved.vectors if version}
    return Known(
        vectors=tuple(map(dossier_of, versions.values())),
        base=dossier_of(resolved.base) if resolved.base else None,
        license_conflicts=_license_conflicts(registry, tuple(versions)),
        settings=settings,
    )


def dossier_of(version: "Version") -> "Dossier":
    """One version; a sampling profile that cannot be read is left out, and `profile_findings` says so."""
    from arithmetic import AlgebraError, Dossier, SamplingProfile

    try:
        profile = SamplingProfile.from_json(version.sampling, version.ref)
    except AlgebraError:
        profile = SamplingProfile()
    prediction = (version.facts or {}).get("prediction_type") or {"value": "unknown", "confidence": 0.0}
    is_known = prediction["value"] != "unknown"
    return Dossier(
        name=version.ref,
        role=cast("Role", str(version.kind)),
        prediction_type=prediction["value"] if is_known else None,
        prediction_confidence=prediction["confidence"],
        trigger_words=version.trigger_words,
        profile=profile,
    )


def profile_findings(resolved: ResolvedRecipe) -> "tuple[Finding, ...]":
    """A note for each vector whose sampling profile cannot be read."""
    from arithmetic import AlgebraError, Finding, SamplingProfile

    findings = []
    for version in {version.ref: version for _, _, version in resolved.vectors if version}.values():
        try:
            SamplingProfile.from_json(version.sampling, version.ref)
        except AlgebraError as error:
            remedy = f"tau edit {version.ref} --sampling ..."
            findings.append(Finding("sampling-constraints", "note", str(error), remedy))
    return tuple(findings)


def _license_conflicts(registry: "Registry | None", refs: tuple[str, ...]) -> tuple[str, ...]:
    from registry.license_report import conflicts_of_sum

    if registry is None or not refs:
        return ()
    with registry.database.reading() as uow:
        return conflicts_of_sum(uow, refs)
