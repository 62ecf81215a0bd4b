"""What other tools left beside a weight file: Civitai's answer, LoRA Manager's record, A1111's user metadata, pictures.

    NAME.civitai.info     a model version as Civitai's API gives it
    NAME.metadata.json    LoRA Manager's own record, Civitai's answer inside it
    NAME.json             what a person typed into A1111's card
    NAME.preview.png      a picture (also .jpg, .jpeg, .webp; also without .preview)

All of it is other people's text: sizes are capped, HTML becomes plain text, addresses are http or https, and what is no
document of its kind is named and left.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.documents import parse_document
from workbench.intake.scanning import PICTURES, SIDECARS, LeftOut

if TYPE_CHECKING:
    from registry.lookups import Statement

MAX_DOCUMENT_BYTES = 4 << 20
MAX_PICTURE_BYTES = 32 << 20
MAX_PICTURE_PIXELS = 64_000_000
MAX_WORDS = 200
MAX_WORD_CHARACTERS = 500
MAX_TEXT_CHARACTERS = 100_000

HASHES = {"SHA256": 64, "AutoV3": 12}
"""The hashes in Civitai's answers that name one file, and how many digits they have."""

LICENSE_FLAGS = ("allowNoCredit", "allowCommercialUse", "allowDerivatives", "allowDifferentLicense")
A1111_KEYS = frozenset({"activation text", "description", "negative text", "notes", "preferred weight", "sd version"})

Json = dict[str, Any]


@dataclass(frozen=True)
class Sidecars:
    """Everything that was found beside one weight file."""

    statements: "tuple[Statement, ...]" = ()
    picture: Path | None = None
    left: tuple[LeftOut, ...] = ()


def read_sidecars(weights: Path) -> Sidecars:
    """Read what lies beside a weight file; a person's own words come first."""
    statements, left = [], []
    for suffix, read in zip(SIDECARS, READERS, strict=True):
        path = weights.with_name(f"{weights.stem}{suffix}")
        if not path.is_file():
            continue
        try:
            statements.append(read(_document(path), str(path)))
        except ValueError as error:
            left.append(LeftOut(path, str(error)))
    picture = None
    for suffix in PICTURES:
        path = weights.with_name(f"{weights.stem}{suffix}")
        if picture is None and path.is_file():
            reason = why_no_picture(path)
            picture, left = (path, left) if reason is None else (None, [*left, LeftOut(path, reason)])
    return Sidecars(tuple(statements), picture, tuple(left))


def civitai_statement(document: Json, uri: str) -> "Statement":
    """A model version as Civitai's API describes it. Raises ValueError where it is none."""
    from registry.lookups import Offer, Statement

    model = _mapping(document.get("model"))
    if not isinstance(document.get("id"), int) or not model:
        raise ValueError("no model version of Civitai's: id and model are missing")
    title = " - ".join(filter(None, (_line(model.get("name")), _line(document.get("name"))))) or None
    flags = {key: model[key] for key in LICENSE_FLAGS if model.get(key) is not None}
    offer = Offer(
        title=title,
        description=text_of(model.get("description")) or text_of(document.get("description")),
        author=_line(
            _mapping(document.get("creator")).get("username") or _mapping(model.get("creator")).get("username")
        ),
        trigger_words=words_of(document.get("trainedWords")),
        tags=words_of(model.get("tags"))[:MAX_WORDS],
        license_flags=flags,
        nsfw=model.get("nsfw") is True,
    )
    return Statement("civitai", _civitai_page(document) or uri, document, offer, _hashes(document))


def lora_manager_statement(document: Json, uri: str) -> "Statement":
    """A record of LoRA Manager's, with what Civitai said inside it. Raises ValueError where it is none."""
    from registry.lookups import Offer, Statement

    if not isinstance(document.get("file_name"), str) or "sha256" not in document:
        raise ValueError("no record of LoRA Manager's: file_name and sha256 are missing")
    inner = _mapping(document.get("civitai"))
    civitai = (
        civitai_statement(inner, uri).offer if isinstance(inner.get("id"), int) and inner.get("model") else Offer()
    )
    strength, low, high = _usage_tips(document.get("usage_tips"))
    sha256 = document["sha256"]
    offer = Offer(
        title=_line(document.get("model_name")) or civitai.title,
        description=text_of(document.get("modelDescription")) or civitai.description,
        author=civitai.author,
        note=own_words(document.get("notes")),
        trigger_words=words_of(document.get("trainedWords")) or words_of(inner.get("trainedWords")),
        tags=words_of(document.get("tags")) or civitai.tags,
        recommended_strength=strength,
        recommended_low=low,
        recommended_high=high,
        license_flags=civitai.license_flags,
        nsfw=civitai.nsfw,
    )
    known = frozenset({sha256.lower()}) if isinstance(sha256, str) and sha256 else frozenset()
    return Statement("lora-manager", uri, document, offer, known)


def a1111_statement(document: Json, uri: str) -> "Statement":
    """What a person typed into A1111's card. Raises ValueError where it is something else."""
    from registry.lookups import Offer, Statement

    if not A1111_KEYS & document.keys():
        raise ValueError(f"no card of A1111's: none of {', '.join(sorted(A1111_KEYS))} is in it")
    offer = Offer(
        description=own_words(document.get("description")),
        note=own_words(document.get("notes")),
        trigger_words=words_of([document.get("activation text")]),
        recommended_strength=number_of(document.get("preferred weight")) or None,
    )
    return Statement("a1111", uri, document, offer)


def why_no_picture(path: Path) -> str | None:
    """Why a file is not taken for a preview; None for a PNG, JPEG or WebP of a sane size."""
    from PIL import Image

    if path.stat().st_size > MAX_PICTURE_BYTES:
        return f"a preview of more than {MAX_PICTURE_BYTES >> 20} MiB"
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            if math.prod(picture.size) > MAX_PICTURE_PIXELS:
                return f"a preview of {picture.width} x {picture.height} pixels"
            picture.verify()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return f"no readable picture: {error}"
    return None


READERS: "tuple[Callable[[Json, str], Statement], ...]" = (a1111_statement, lora_manager_statement, civitai_statement)
"""For each suffix of SIDECARS: a person's own words, a tool's record, a service's answer."""


def _document(path: Path) -> Json:
    size = path.stat().st_size
    if size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{size:,} bytes, expected at most {MAX_DOCUMENT_BYTES:,}")
    try:
        return parse_document(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def number_of(value: object) -> float | None:
    """A strength, as a number or a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= 100 else None


def _line(value: object) -> str | None:
    """A value as one line of plain text, None where there is none."""
    return " ".join(value.split())[:MAX_WORD_CHARACTERS] or None if isinstance(value, str) else None


def own_words(value: object) -> str | None:
    """What a person typed, as it stands; None where that is nothing."""
    return value.strip()[:MAX_TEXT_CHARACTERS] or None if isinstance(value, str) else None


def text_of(value: object) -> str | None:
    """A value as plain text: HTML's tags go, its paragraphs stay; None where there is none."""
    if not isinstance(value, str):
        return None
    plain = plain_text(value) if "<" in value or "&" in value else value
    return plain.strip()[:MAX_TEXT_CHARACTERS] or None


def words_of(value: object) -> tuple[str, ...]:
    """A list of words, or of texts with commas between words, each word once, in their order."""
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    found = (" ".join(word.split()) for text in texts for word in _split(text))
    return tuple(dict.fromkeys(word[:MAX_WORD_CHARACTERS] for word in found if word))[:MAX_WORDS]


def _split(text: str) -> Iterator[str]:
    """Split at commas outside of brackets: `(a, b:1.2)` is one word of a prompt."""
    depth, word = 0, ""
    for character in text:
        depth += (character in "([<{") - (character in ")]>}")
        if character == "," and depth <= 0:
            yield word
            word = ""
        else:
            word += character
    yield word


def _usage_tips(value: object) -> tuple[float | None, float | None, float | None]:
    """Strength, lowest and highest strength, from LoRA Manager's JSON in a string."""
    try:
        tips = _mapping(json.loads(value)) if isinstance(value, str) else _mapping(value)
    except (ValueError, RecursionError):
        return None, None, None
    low, high = number_of(tips.get("strength_min")), number_of(tips.get("strength_max"))
    if low is not None and high is not None and low > high:
        low, high = high, low
    return number_of(tips.get("strength")), low, high


def _hashes(document: Json) -> frozenset[str]:
    files = document.get("files")
    named = [_mapping(_mapping(file).get("hashes")) for file in files] if isinstance(files, list) else []
    found = [(one.get(kind), digits) for one in named for kind, digits in HASHES.items()]
    return frozenset(text.lower() for text, digits in found if isinstance(text, str) and len(text) == digits)


def _civitai_page(document: Json) -> str | None:
    """The page of a model version: made of its two numbers, never of an address that the document gives."""
    model, version = document.get("modelId"), document.get("id")
    if isinstance(model, int) and isinstance(version, int):
        return f"https://civitai.com/models/{model}?modelVersionId={version}"
    return None


class _PlainText(HTMLParser):
    """Collects the text of HTML: scripts and styles fall out, blocks end a line."""

    BLOCKS = frozenset({"blockquote", "br", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "p", "pre", "tr"})
    SILENT = frozenset({"script", "style", "template"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent += tag in self.SILENT
        if tag in self.BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in self.SILENT and self._silent > 0
        if tag in self.BLOCKS and tag != "br":
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(data)


def plain_text(html: str) -> str:
    """The text of an HTML fragment, without a tag in it."""
    parser = _PlainText()
    parser.feed(html[: 10 * MAX_TEXT_CHARACTERS])
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
