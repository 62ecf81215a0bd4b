"""20,000 damaged headers: each is answered or refused by name, in bounded memory, with nothing left behind."""

import gzip
import json
import os
import random
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formats import FormatError, HeaderError, identify, read_header

CORPUS = sorted((Path(__file__).resolve().parent / "stripped").glob("*.json.gz"))
HEADERS = 20_000
CHUNKS = 8
TENSORS = 12
MOST_GROWTH_KIB = 64 << 10
MOST_DATA_BYTES = 1 << 40
FORMS = [(",", ":"), (", ", ": ")]
BITS = {"F16": 16, "F32": 32}

TOKENS = [
    *("-1", "-0", "0", "1", "1.0", "1e3", "1e999", "NaN", "-Infinity", "true", "null", "[]", "{}", '""', '"x"'),
    *(str(2**63), str(2**64), "9" * 5000, r'"\ud800"', r'"\u0000"', '"\x00"', "[" * 50, '{"a":' * 50, '"F4"', '"BOOL"'),
]
SUFFIXES = [
    *("lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "lora_A.weight", "lora_B.default.weight"),
    *(
        "hada_w1_a",
        "hada_t1",
        "lokr_w1",
        "lokr_w2_b",
        "lokr_t2",
        "a1.weight",
        "b2.weight",
        "oft_blocks",
        "oft_diag",
        "oft_R.weight",
        "boft_R",
        "boft_s",
    ),
    *("on_input", "weight", "diff", "diff_b", "w_norm", "dora_scale", "scalar", "bias", "", "lora.down.weight"),
]
METADATA: dict[str, list[str]] = {
    "lora_adapter_metadata": [
        "{",
        "[]",
        '{"r": "x"}',
        '{"unet.lora_alpha": 1e999}',
        '{"lora_alpha": null}',
        "[" * 9999,
    ],
    "ss_base_model_version": ["sd_v2_v", "sdxl", "\x00", "\u017fd_v1"],
    "modelspec.architecture": ["", "stable-diffusion-xl-v1-refiner/lora"],
    "ot_config": ["{}"],
}


def read_case(path: Path) -> dict[str, Any]:
    """A header of the corpus, cut to a few modules: [name, dtype, shape] each, with metadata."""
    case = json.loads(gzip.decompress(path.read_bytes()))
    tensors = [[name, case["dtype"], shape] for name, shape in list(case["tensors"].items())[:TENSORS]]
    return {"metadata": case["metadata"], "tensors": tensors}


def encode(case: dict[str, Any], chance: random.Random) -> tuple[bytes, int]:
    """The header's text and the length of the data section, the tensors one after the other."""
    header: dict[str, Any] = {"__metadata__": case["metadata"]}
    position = 0
    for name, dtype, shape in case["tensors"]:
        elements = 1
        for size in shape:
            elements *= size
        end = position + elements * BITS.get(dtype, 16) // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    return json.dumps(header, separators=chance.choice(FORMS)).encode(), position


# Damage to what the header says, so that the file stays a readable one: identification itself has to cope


def rename(case: dict[str, Any], chance: random.Random) -> None:
    tensor = chance.choice(case["tensors"])
    stem = tensor[0].split(".")[0] if chance.random() < 0.5 else tensor[0].rpartition(".")[0]
    tensor[0] = f"{stem}.{chance.choice(SUFFIXES)}"


def reshape(case: dict[str, Any], chance: random.Random) -> None:
    shape = chance.choice(case["tensors"])[2]
    sizes = [0, 1, 2, 3, 7, 320, 1280, 2**20]
    if shape and chance.random() < 0.7:
        shape[chance.randrange(len(shape))] = chance.choice(sizes)
    elif chance.random() < 0.5:
        shape.append(chance.choice(sizes))
    else:
        del shape[chance.randrange(len(shape) + 1) :]


def swap_shapes(case: dict[str, Any], chance: random.Random) -> None:
    first, second = chance.choice(case["tensors"]), chance.choice(case["tensors"])
    first[2], second[2] = second[2], first[2]


def retype(case: dict[str, Any], chance: random.Random) -> None:
    chance.choice(case["tensors"])[1] = chance.choice(["F32", "I64", "BOOL", "F8_E4M3", "F4", "Q4"])


def drop(case: dict[str, Any], chance: random.Random) -> None:
    del case["tensors"][chance.randrange(len(case["tensors"])) :][:1]
    case["tensors"].pop(chance.randrange(len(case["tensors"])))


def cross(case: dict[str, Any], chance: random.Random) -> None:
    case["tensors"] += chance.sample(copied(chance)["tensors"], 3)


def claim(case: dict[str, Any], chance: random.Random) -> None:
    key = chance.choice(list(METADATA))
    case["metadata"][key] = chance.choice(METADATA[key])


SAYINGS: list[Callable[[dict[str, Any], random.Random], None]] = [
    rename,
    reshape,
    swap_shapes,
    retype,
    drop,
    cross,
    claim,
]


# Damage to the bytes


def edit_bytes(text: bytes, chance: random.Random) -> bytes:
    content = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(content))
        match chance.randrange(4):
            case 0:
                content[place] = chance.randrange(256)
            case 1:
                content.insert(place, chance.randrange(256))
            case 2:
                del content[place : place + chance.choice([1, 1, 2, 40])]
            case _:
                content[place:place] = content[place : place + chance.choice([1, 8, 200])]
    return bytes(content) or b"{"


def replace_token(text: bytes, chance: random.Random) -> bytes:
    tokens = list(re.finditer(rb'"[^"]*"|-?\d+', text))
    token = chance.choice(tokens)
    return text[: token.start()] + chance.choice(TOKENS).encode("utf-8", "surrogatepass") + text[token.end() :]


def repeat_entry(text: bytes, chance: random.Random) -> bytes:
    entries = list(re.finditer(rb'"[^"]+": ?\{"dtype[^}]*\}', text))
    entry = chance.choice(entries)[0]
    return text[:-1] + b", " + entry + b"}"


TEXTS: list[Callable[[bytes, random.Random], bytes]] = [edit_bytes, replace_token, repeat_entry]


def damaged(number: int) -> tuple[bytes, int]:
    """The file's beginning and its whole size, for one number."""
    chance = random.Random(number)
    case = copied(chance)
    for saying in chance.choices(SAYINGS, k=chance.choice([0, 1, 1, 2, 3])):
        saying(case, chance)
    text, size = encode(case, chance)
    for edit in chance.choices(TEXTS, k=chance.choice([0, 0, 1, 1, 2])):
        text = edit(text, chance)
    length = (
        len(text)
        if chance.random() < 0.95
        else chance.choice([0, 1, len(text) - 1, len(text) + 1, 2**31, 2**63, 10**8 + 1])
    )
    size += chance.choice([0] * 12 + [-1, 1, -size])
    return length.to_bytes(8, "little") + text, 8 + len(text) + min(max(size, 0), MOST_DATA_BYTES)


CASES = [read_case(path) for path in CORPUS]


def copied(chance: random.Random) -> dict[str, Any]:
    case = chance.choice(CASES)
    return {"metadata": dict(case["metadata"]), "tensors": [[n, d, [*shape]] for n, d, shape in case["tensors"]]}


def answer(path: Path) -> str:
    """What came of one file: answered, or refused by an error that names it."""
    try:
        found = identify(path, hashes=False)
    except FormatError as error:
        return "refused" if str(path) in str(error) or not isinstance(error, HeaderError) else "refused without a name"
    document = found.to_json()
    json.dumps(document, allow_nan=False)
    assert all(0 <= document[finding]["confidence"] <= 1 for finding in ("family", "adapter", "layout", "variant"))
    return "broken" if found.broken else found.kind


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else set()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_damaged_header_is_answered_or_refused_and_nothing_is_left(chunk: int, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    before, files, came = None, open_files(), []
    for number in range(chunk, HEADERS, CHUNKS):
        start, size = damaged(number)
        with path.open("wb") as file:
            file.write(start)
            file.truncate(size)
        came.append(answer(path))
        if len(came) == 500:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(came) == HEADERS // CHUNKS
    assert {"refused", "broken", "vector", "unknown"} <= set(came) <= {"refused", "broken", "vector", "base", "unknown"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KIB
    assert open_files() == files
    assert [entry.name for entry in tmp_path.iterdir()] == ["damaged.safetensors"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[]," * 3_000_000 + b"0}",
        b'{"a":[' + b"0," * 5_000_000 + b"0]}",
        b"{" + b",".join(b'"%d":{}' % i for i in range(2_100_000)) + b"}",
    ],
    ids=["lists", "numbers", "objects"],
)
def test_a_header_of_millions_of_values_is_refused_before_it_is_read(body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(len(body).to_bytes(8, "little") + body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(HeaderError, match="more than 4,000,000 values"):
        read_header(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KIB


def test_a_header_of_a_hundred_thousand_entries_is_read(tmp_path: Path) -> None:
    entries = {f"t{i}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(100_000)}
    text = json.dumps(entries).encode()
    path = tmp_path / "many.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(100_000))
    found = identify(path, hashes=False)
    assert (found.kind, found.parameters) == ("unknown", 100_000)
