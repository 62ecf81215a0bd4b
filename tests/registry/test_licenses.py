import pytest

from registry.licenses import (
    COMMERCIAL,
    IMAGE,
    LICENSES,
    SERVICE,
    Terms,
    canonical_license,
    terms_of,
    terms_of_flags,
    terms_of_license,
)


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("MIT", "mit"),
        ("the mit license", "mit"),
        ("CreativeML  Open RAIL++-M", "openrail++"),
        ("openrail++", "openrail++"),
        ("CreativeML Open RAIL-M", "creativeml-openrail-m"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("MIT or CC-BY-NC-4.0", "mit OR cc-by-nc-4.0"),
        ("(mit and Apache 2.0) or other", "(mit AND apache-2.0) OR other"),
        ("Ann's own licence", "Ann's own licence"),
        ("free for personal use and fun", "free for personal use and fun"),
        ("mit and", "mit and"),
        ("", ""),
    ],
)
def test_a_licence_is_written_in_one_way_and_what_is_not_known_as_it_was_said(said: str, canonical: str) -> None:
    assert canonical_license(said) == canonical
    assert canonical_license(canonical) == canonical


@pytest.mark.parametrize("identifier", LICENSES)
def test_every_identifier_and_all_its_spellings_mean_the_same_licence(identifier: str) -> None:
    terms, spellings = LICENSES[identifier]
    for said in (identifier, *spellings):
        assert canonical_license(said) == identifier
        assert terms_of_license(said.upper()) == terms


def test_and_leaves_what_both_leave_and_or_takes_the_lighter() -> None:
    both, either = terms_of_license("cc-by-nc-4.0 AND openrail"), terms_of_license("cc-by-nc-4.0 OR openrail")
    assert both is not None
    assert (both.commercial, both.credit, both.use_limits) == (frozenset(), True, frozenset({"rail"}))
    assert either == terms_of_license("openrail")
    assert terms_of_license("mit OR house-licence") == terms_of_license("mit")
    assert terms_of_license("mit AND house-licence") is None


def test_taking_terms_together_is_commutative_associative_and_idempotent() -> None:
    terms = [terms for terms, _ in LICENSES.values()]
    for one in terms:
        assert one.both(one) == one
        for other in terms:
            assert one.both(other) == other.both(one)
            assert one.both(other).both(terms[0]) == one.both(other.both(terms[0]))
            assert one.both(other).weight >= max(one.weight, other.weight)


def test_flags_of_civitai_in_every_form_that_it_sends() -> None:
    for image_and_rent in (["Image", "Rent"], "{Image,Rent}", ("image", "RentCivit")):
        assert terms_of_flags({"allowCommercialUse": image_and_rent}) == Terms(frozenset({IMAGE, SERVICE}))
    for nothing in ("None", [], False, "{}"):
        assert terms_of_flags({"allowCommercialUse": nothing}) == Terms(frozenset())
    said = {"allowNoCredit": False, "allowDerivatives": False, "allowDifferentLicense": False}
    assert terms_of_flags(said) == Terms(COMMERCIAL, derivatives=False, credit=True, same_license=True)
    assert terms_of_flags({}) is None


def test_a_licence_and_flags_both_apply() -> None:
    terms = terms_of("creativeml-openrail-m", {"allowCommercialUse": ["Image"]})
    assert terms == Terms(frozenset({IMAGE}), use_limits=frozenset({"rail"}))
    assert terms_of("mit", {}) == terms_of_license("mit")
    assert terms_of(None, {}) is None
