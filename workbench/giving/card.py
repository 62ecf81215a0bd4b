"""The model card: front matter that the Hub understands, and a page that says how to use the version.

Everything that people wrote is kept from breaking out of its place: the front matter is dumped as YAML, texts lose
their HTML, and links lead to http and https alone.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.giving.showcase import Picture
from workbench.giving.weight_files import PROVENANCE, GivenFiles
from workbench.training.guidance import in_both_ways

if TYPE_CHECKING:
    from registry import Edge, Registry, Version

FAMILY_TAGS: Mapping[str, tuple[str, ...]] = {
    "sd15": ("stable-diffusion", "stable-diffusion-diffusers"),
    "sd21": ("stable-diffusion", "stable-diffusion-diffusers"),
    "sdxl": ("stable-diffusion-xl", "stable-diffusion-xl-diffusers"),
    "sdxl-refiner": ("stable-diffusion-xl", "stable-diffusion-xl-diffusers"),
    "ssd1b": ("stable-diffusion-xl", "stable-diffusion-xl-diffusers"),
    "vega": ("stable-diffusion-xl", "stable-diffusion-xl-diffusers"),
}
"""What the Hub calls the families, for its filters."""

LYCORIS = frozenset({"loha", "lokr", "glora", "oft", "boft", "ia3", "full"})
NSFW_TAG = "not-for-all-audiences"
UNKNOWN_PROMPT = "-"
"""What the Hub's own cards say where a picture has no prompt."""

HUB_ID = re.compile(r"(?:hf://)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@[^/]*)?(?:/.*)?")
RELATIONS: Mapping[str, str] = {"baked_into": "merge", "composed_from": "merge", "distilled_from": "finetune"}
"""Edge of a base -> how the Hub calls the relation."""

LINK_SCHEME = re.compile(r"(?i)(\]\s*\(\s*<?|^\s*\[[^\]]*\]:\s*<?)(?!https?:|#|/|\.)[a-z][a-z0-9+.-]*:", re.MULTILINE)
SAID = ("title", "description", "license", "trigger_words", "tags", "sampling")
"""What people write about a version, as far as it stands in a card."""

MADE_FROM = frozenset({"composed_from", "baked_into", "distilled_from", "extracted_from", "resized_from", "trained_on"})


@dataclass(frozen=True)
class Card:
    """The front matter, and the whole text of README.md."""

    front: Mapping[str, Any]
    text: str


@dataclass(frozen=True)
class Relations:
    """How a version hangs together with repositories of the Hub."""

    bases: tuple[str, ...]
    relation: str | None


def card_of(
    registry: "Registry",
    version: "Version",
    given: GivenFiles,
    pictures: Sequence[Picture],
    *,
    base_model: str | None = None,
    repo: str | None = None,
) -> Card:
    """README.md: front matter and page.

    `base_model` is the base's repository, where the registry does not know it; `repo` the one that the card is for.
    """
    from formats import scrub

    edges = [edge for edge in registry.lineage(version.ref).edges if edge.child == version.ref]
    version = _without_secrets(version)
    front = scrub(front_matter(version, given, pictures, relations_of(registry, version, edges, base_model)))
    parts = [
        f"# {_line(version.title)}",
        "<Gallery />" if pictures else "",
        _text(version.description),
        _trigger(version),
        _strength(version),
        _use(version, given, front, repo),
        _limits(version),
        _files(given),
        _made_from(version, edges),
    ]
    page = "\n\n".join(part for part in parts if part)
    return Card(front, f"---\n{_yaml(front)}---\n\n{page}\n")


def _without_secrets(version: "Version") -> "Version":
    """The version with everything that people wrote about it as it may be told to anybody."""
    from formats import scrub

    told = scrub({name: getattr(version, name) for name in SAID})
    return replace(version, **{**told, "trigger_words": tuple(told["trigger_words"])})


def front_matter(
    version: "Version", given: GivenFiles, pictures: Sequence[Picture], relations: Relations
) -> dict[str, Any]:
    """The entries of the front matter, those left out that say nothing."""
    bases = relations.bases[0] if len(relations.bases) == 1 else list(relations.bases)
    entries = {
        "base_model": bases,
        "base_model_relation": relations.relation if relations.bases else None,
        "library_name": "peft" if given.layout == "peft" else "diffusers",
        "pipeline_tag": "text-to-image",
        **_license(version),
        "instance_prompt": ", ".join(version.trigger_words),
        "tags": _tags(version),
        "widget": [{"text": one.prompt or UNKNOWN_PROMPT, "output": {"url": one.path}} for one in pictures],
    }
    return {key: value for key, value in entries.items() if value not in (None, "", [])}


def relations_of(
    registry: "Registry", version: "Version", edges: Iterable["Edge"], base_model: str | None
) -> Relations:
    """The base's repositories: as told, else from the edges of a vector to its base, or of a base to its parents."""
    own = list(edges)
    if version.kind != "base":
        told = [base_model] if base_model else _repositories(registry, own, {"adapter_of"})
        return Relations(tuple(told), "adapter")
    relation = next((RELATIONS[edge.relation] for edge in own if edge.relation in RELATIONS), None)
    told = [base_model] if base_model else _repositories(registry, own, set(RELATIONS))
    return Relations(tuple(told), relation)


def hub_repository(registry: "Registry", ref: str) -> str | None:
    """The Hub repository that a version came from or was pushed to, or that an external reference names."""
    from registry import NotFound
    from registry.lineage import EXTERNAL

    if ref.startswith(EXTERNAL):
        match = HUB_ID.fullmatch(ref.removeprefix(EXTERNAL))
        return match["repo"] if match else None
    try:
        version = registry.get(ref)
    except NotFound:
        return None
    if version.origin is not None and version.origin.kind == "hub":
        match = HUB_ID.fullmatch(version.origin.uri)
        return match["repo"] if match else None
    pushed = registry.last_push(version.model)
    return pushed.repo if pushed else None


def _repositories(registry: "Registry", edges: Iterable["Edge"], relations: set[str]) -> list[str]:
    named = (hub_repository(registry, edge.parent) for edge in edges if edge.relation in relations)
    return list(dict.fromkeys(repo for repo in named if repo))


def _license(version: "Version") -> dict[str, str | None]:
    """The Hub's identifier, or `other` with the name and, where one is known, the place of the text."""
    from registry.licenses import LICENSES, canonical_license

    if version.license is None:
        return {}
    license = canonical_license(version.license)
    if license in LICENSES:
        return {"license": license}
    link = next((word.strip("()<>,;") for word in license.split() if word.startswith(("https://", "http://"))), None)
    own = next((artifact.path for artifact in version.artifacts if artifact.path.upper().startswith("LICENSE")), None)
    return {"license": "other", "license_name": _slug(license), "license_link": own or link}


def _slug(text: str) -> str:
    """A licence's name as the Hub takes it: small letters, digits, dots and dashes."""
    from registry.names import slug_of

    return slug_of(re.sub(r"https?://\S+", " ", text) if " " in text.strip() else text)


def _tags(version: "Version") -> list[str]:
    """What the Hub filters by, then the version's own tags that have no value: words, not records."""
    facts = version.facts or {}
    adapter = str(facts.get("adapter", {}).get("value", ""))
    tags = ["text-to-image", "diffusers"]
    if version.kind not in ("base", "other"):
        tags += ["lora", "template:sd-lora"]
        tags += ["dora"] * ("+dora" in adapter) + ["lycoris"] * (adapter.partition("+")[0] in LYCORIS)
    tags += FAMILY_TAGS.get(version.family or "", ())
    if version.kind == "acceleration" and "solver" in version.sampling:
        tags.append(str(version.sampling["solver"]))
    tags += [NSFW_TAG] * version.nsfw
    tags += [key for key, value in version.tags.items() if not value]
    return list(dict.fromkeys(tags))


def _trigger(version: "Version") -> str:
    if not version.trigger_words:
        return ""
    words = " ".join(_code(word) for word in version.trigger_words)
    return f"## Trigger words\n\nUse {words} in the prompt."


def _strength(version: "Version") -> str:
    low, best, high = version.recommended_low, version.recommended_strength, version.recommended_high
    said = []
    if best is not None:
        said.append(f"Recommended strength {best:g}.")
    if low is not None and high is not None:
        said.append(f"It works from {low:g} to {high:g}.")
    if version.sampling:
        settings = ", ".join(f"{key} {_line(str(value))}" for key, value in in_both_ways(version.sampling).items())
        said.append(f"Made for sampling with {settings}.")
    return f"## Strength\n\n{' '.join(said)}" if said else ""


def _use(version: "Version", given: GivenFiles, front: Mapping[str, Any], repo: str | None) -> str:
    """Code that loads a vector with diffusers, from its repository or from the folder that the card lies in."""
    if version.kind in ("base", "other") or given.layout == "peft":
        return ""
    base = front.get("base_model")
    named = json.dumps(base if isinstance(base, str) else "BASE", ensure_ascii=False)
    weights = json.dumps(given.weights, ensure_ascii=False)
    strength = 1.0 if version.recommended_strength is None else version.recommended_strength
    prompt = json.dumps(", ".join(version.trigger_words) or "a photo", ensure_ascii=False)
    return (
        "## Use\n\n```python\nimport torch\nfrom diffusers import AutoPipelineForText2Image\n\n"
        f"pipe = AutoPipelineForText2Image.from_pretrained({named}, torch_dtype=torch.float16)\n"
        f'pipe.load_lora_weights({json.dumps(repo or ".")}, weight_name={weights}, adapter_name="default")\n'
        f'pipe.set_adapters(["default"], adapter_weights=[{strength:g}])\n'
        f"image = pipe({prompt}).images[0]\n```"
    )


def _limits(version: "Version") -> str:
    """What identification warns of, such as runtimes that drop DoRA."""
    from formats.scrubbing import scrub_text

    warnings = (version.facts or {}).get("warnings", ())
    return "## Limits\n\n" + "\n".join(f"- {_line(scrub_text(warning))}" for warning in warnings) if warnings else ""


def _files(given: GivenFiles) -> str:
    rows = [f"| {_code(file.path)} | {file.digests.size:,} | `{file.digests.sha256}` |" for file in given.files[:40]]
    more = f"\n\n{len(given.files) - 40} more are listed in [{PROVENANCE}]({PROVENANCE})." if len(rows) == 40 else ""
    return "## Files\n\n| file | bytes | sha256 |\n|---|---|---|\n" + "\n".join(rows) + more


def _made_from(version: "Version", edges: Iterable["Edge"]) -> str:
    """The version's parents with their lambdas, and where the whole provenance is."""
    from formats.scrubbing import scrub_text

    rows = [
        f"| {edge.relation} | {_code(scrub_text(edge.parent))} | {'' if edge.weight is None else f'{edge.weight:g}'} |"
        for edge in edges
        if edge.relation in MADE_FROM | {"adapter_of", "teacher", "converted_from", "supersedes"}
    ]
    table = "| relation | of | lambda |\n|---|---|---|\n" + "\n".join(rows) + "\n\n" if rows else ""
    return (
        f"## Provenance\n\n{table}Version `{version.ref}`, digest `sha256:{version.digest}`. Lineage, recipe, "
        f"certificate and the hashes of every file are in [{PROVENANCE}]({PROVENANCE})."
    )


def _yaml(front: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    text: str = ModelCardData(**front).to_yaml()
    return text + ("" if text.endswith("\n") else "\n")


def _text(text: str) -> str:
    """Markdown that somebody wrote, without HTML and without links other than to the web."""
    plain = html.escape(text, quote=False).strip()
    return LINK_SCHEME.sub(r"\1unsafe-", plain)


def _line(text: str) -> str:
    """A text on one line, its Markdown taken literally."""
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _code(text: str) -> str:
    """A text on one line as code, whatever is in it."""
    plain = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"
