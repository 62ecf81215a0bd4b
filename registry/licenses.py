"""Licences as data: identifiers, their other spellings, and what each allows and asks.

Identifiers are those of the Hugging Face Hub, which a model card needs; SPDX identifiers and common spellings are
aliases of them. Licences of many models in the field are use-restricted (the RAIL family): they allow nearly everything
and ask that their list of forbidden uses is passed on. This is bookkeeping, not legal advice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from license_expression import LicenseExpression, Licensing

IMAGE, SERVICE, SELL = "sell images", "offer a service", "sell the weights"
COMMERCIAL = frozenset({IMAGE, SERVICE, SELL})
"""The commercial uses that the field tells apart."""

USE_LIST = "rail"
"""The use restrictions of the RAIL licences, whichever of them states them."""

OTHER = ("other", "unknown")
"""The Hub's words for a licence that no identifier stands for."""


@dataclass(frozen=True)
class Terms:
    """What a licence allows (`commercial`, `derivatives`) and asks of what is made from it (the rest)."""

    commercial: frozenset[str] = COMMERCIAL
    derivatives: bool = True
    credit: bool = False
    same_license: bool = False
    use_limits: frozenset[str] = frozenset()

    def both(self, other: "Terms") -> "Terms":
        """What is left where both apply."""
        return Terms(
            self.commercial & other.commercial,
            self.derivatives and other.derivatives,
            self.credit or other.credit,
            self.same_license or other.same_license,
            self.use_limits | other.use_limits,
        )

    @property
    def weight(self) -> int:
        """How much it forbids and asks: of `A OR B` the lighter one is taken."""
        missing = len(COMMERCIAL - self.commercial) + (not self.derivatives)
        return missing + self.credit + self.same_license + len(self.use_limits)


FREE = Terms()
CREDIT = Terms(credit=True)
COPYLEFT = Terms(credit=True, same_license=True)
RAIL = Terms(use_limits=frozenset({USE_LIST}))
NONCOMMERCIAL = Terms(commercial=frozenset(), credit=True)
NO_DERIVATIVES = Terms(derivatives=False, credit=True)

LICENSES: Mapping[str, tuple[Terms, tuple[str, ...]]] = {
    "afl-3.0": (CREDIT, ("AFL-3.0",)),
    "agpl-3.0": (COPYLEFT, ("AGPL-3.0", "AGPL-3.0-only", "AGPL-3.0-or-later", "AGPLv3")),
    "apache-2.0": (
        CREDIT,
        ("Apache-2.0", "Apache 2.0", "Apache 2", "Apache License 2.0", "Apache License Version 2.0"),
    ),
    "artistic-2.0": (CREDIT, ("Artistic-2.0",)),
    "bigcode-openrail-m": (RAIL, ("BigCode OpenRAIL-M",)),
    "bigscience-bloom-rail-1.0": (RAIL, ("BigScience BLOOM RAIL 1.0",)),
    "bigscience-openrail-m": (RAIL, ("BigScience OpenRAIL-M",)),
    "bsd": (CREDIT, ()),
    "bsd-2-clause": (CREDIT, ("BSD-2-Clause",)),
    "bsd-3-clause": (CREDIT, ("BSD-3-Clause", "New BSD")),
    "bsl-1.0": (CREDIT, ("BSL-1.0",)),
    "cc-by-2.0": (CREDIT, ("CC-BY-2.0", "CC BY 2.0")),
    "cc-by-3.0": (CREDIT, ("CC-BY-3.0", "CC BY 3.0")),
    "cc-by-4.0": (CREDIT, ("CC-BY-4.0", "CC BY 4.0")),
    "cc-by-nc-2.0": (NONCOMMERCIAL, ("CC-BY-NC-2.0", "CC BY-NC 2.0")),
    "cc-by-nc-3.0": (NONCOMMERCIAL, ("CC-BY-NC-3.0", "CC BY-NC 3.0")),
    "cc-by-nc-4.0": (NONCOMMERCIAL, ("CC-BY-NC-4.0", "CC BY-NC 4.0")),
    "cc-by-nc-nd-3.0": (NONCOMMERCIAL.both(NO_DERIVATIVES), ("CC-BY-NC-ND-3.0", "CC BY-NC-ND 3.0")),
    "cc-by-nc-nd-4.0": (NONCOMMERCIAL.both(NO_DERIVATIVES), ("CC-BY-NC-ND-4.0", "CC BY-NC-ND 4.0")),
    "cc-by-nc-sa-2.0": (NONCOMMERCIAL.both(COPYLEFT), ("CC-BY-NC-SA-2.0", "CC BY-NC-SA 2.0")),
    "cc-by-nc-sa-3.0": (NONCOMMERCIAL.both(COPYLEFT), ("CC-BY-NC-SA-3.0", "CC BY-NC-SA 3.0")),
    "cc-by-nc-sa-4.0": (NONCOMMERCIAL.both(COPYLEFT), ("CC-BY-NC-SA-4.0", "CC BY-NC-SA 4.0")),
    "cc-by-nd-4.0": (NO_DERIVATIVES, ("CC-BY-ND-4.0", "CC BY-ND 4.0")),
    "cc-by-sa-3.0": (COPYLEFT, ("CC-BY-SA-3.0", "CC BY-SA 3.0")),
    "cc-by-sa-4.0": (COPYLEFT, ("CC-BY-SA-4.0", "CC BY-SA 4.0")),
    "cc0-1.0": (FREE, ("CC0-1.0", "CC0", "CC0 1.0")),
    "cdla-permissive-2.0": (FREE, ("CDLA-Permissive-2.0",)),
    "creativeml-openrail-m": (
        RAIL,
        (
            "CreativeML OpenRAIL-M",
            "CreativeML Open RAIL-M",
            "CreativeML Open RAIL M",
            "LicenseRef-CreativeML-OpenRAIL-M",
        ),
    ),
    "ecl-2.0": (CREDIT, ("ECL-2.0",)),
    "epl-2.0": (COPYLEFT, ("EPL-2.0",)),
    "eupl-1.1": (COPYLEFT, ("EUPL-1.1",)),
    "faipl-1.0-sd": (COPYLEFT, ("Fair AI Public License 1.0-SD", "FAIPL-1.0-SD")),
    "gpl-2.0": (COPYLEFT, ("GPL-2.0", "GPL-2.0-only", "GPL-2.0-or-later", "GPLv2")),
    "gpl-3.0": (COPYLEFT, ("GPL-3.0", "GPL-3.0-only", "GPL-3.0-or-later", "GPLv3")),
    "isc": (CREDIT, ("ISC",)),
    "lgpl-3.0": (COPYLEFT, ("LGPL-3.0", "LGPL-3.0-only", "LGPL-3.0-or-later")),
    "mit": (CREDIT, ("MIT", "MIT License", "The MIT License")),
    "mpl-2.0": (COPYLEFT, ("MPL-2.0",)),
    "ofl-1.1": (COPYLEFT, ("OFL-1.1",)),
    "openrail": (RAIL, ("OpenRAIL", "Open RAIL", "OpenRAIL-M", "Open RAIL-M")),
    "openrail++": (
        RAIL,
        ("OpenRAIL++", "OpenRAIL++-M", "CreativeML OpenRAIL++-M", "CreativeML Open RAIL++-M", "SDXL-1.0"),
    ),
    "unlicense": (FREE, ("Unlicense", "The Unlicense")),
    "wtfpl": (FREE, ("WTFPL",)),
}
"""Identifier -> its terms, and the other spellings of it."""

COMMERCIAL_FLAGS: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "image": frozenset({IMAGE}),
    "rentcivit": frozenset({SERVICE}),
    "rent": frozenset({SERVICE}),
    "sell": frozenset({SELL}),
}
"""Civitai's allowCommercialUse, one by one."""


def canonical_license(said: str) -> str:
    """A licence as the catalog writes it: the Hub's identifier, or an expression of them; unknown texts stay."""
    text = " ".join(said.split())
    expression = _parsed(text)
    if expression is None:
        return text
    keys = _licensing().license_keys(expression)
    return expression.render("{symbol.key}") if all(key in LICENSES or key in OTHER for key in keys) else text


def terms_of_license(said: str | None) -> Terms | None:
    """What a licence or an expression allows and asks; None where it is not stated or not known."""
    expression = None if said is None else _parsed(" ".join(said.split()))
    return None if expression is None else _terms(expression)


def terms_of_flags(flags: Mapping[str, Any]) -> Terms | None:
    """What Civitai's flags allow and ask; None where there are none."""
    if not flags:
        return None
    commercial = flags.get("allowCommercialUse")
    return Terms(
        commercial=COMMERCIAL if commercial is None else _commercial(commercial),
        derivatives=bool(flags.get("allowDerivatives", True)),
        credit=not flags.get("allowNoCredit", True),
        same_license=not flags.get("allowDifferentLicense", True),
    )


def terms_of(license: str | None, flags: Mapping[str, Any]) -> Terms | None:
    """What a model's licence and its flags leave together; None where neither is known."""
    said = [terms for terms in (terms_of_license(license), terms_of_flags(flags)) if terms is not None]
    return said[0].both(said[-1]) if said else None


def _commercial(said: object) -> frozenset[str]:
    """A list of words, one word, or a database's `{Image,Rent}`."""
    words = re.findall("[A-Za-z]+", said) if isinstance(said, str) else [str(word) for word in _listed(said)]
    return frozenset(use for word in words for use in COMMERCIAL_FLAGS.get(word.lower(), ()))


def _listed(said: object) -> list[object]:
    return list(said) if isinstance(said, list | tuple | set | frozenset) else ([] if said is False else [said])


def _terms(expression: "LicenseExpression") -> Terms | None:
    """AND: all apply. OR: the lightest known. WITH: the exception only adds freedom, the licence counts."""
    licensing = _licensing()
    if isinstance(expression, licensing.AND | licensing.OR):
        parts = [_terms(part) for part in expression.args]
        if isinstance(expression, licensing.OR):
            return min((part for part in parts if part is not None), key=lambda part: part.weight, default=None)
        known = [part for part in parts if part is not None]
        together = FREE
        for part in known:
            together = together.both(part)
        return together if len(known) == len(parts) else None
    symbol = getattr(expression, "license_symbol", expression)
    return LICENSES[symbol.key][0] if symbol.key in LICENSES else None


def _parsed(text: str) -> "LicenseExpression | None":
    """The expression that a text is, None for one that is none."""
    from license_expression import ExpressionError, ExpressionParseError

    try:
        return _licensing().parse(text)
    except (ExpressionError, ExpressionParseError):
        return None


@cache
def _licensing() -> "Licensing":
    from license_expression import LicenseSymbol, Licensing

    known = {**{key: aliases for key, (_, aliases) in LICENSES.items()}, **dict.fromkeys(OTHER, ())}
    return Licensing([LicenseSymbol(key, aliases=aliases) for key, aliases in known.items()])
