"""What goes out holds no secret and no machine path, and what libraries open can still be opened."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from workbench.giving.cleaning import LARGEST_BYTES, write_cleaned

SECRET = "hf_" + "S" * 34
PRIVATE = "/home/ann/private/run"


def cleaned(folder: Path, name: str, text: str) -> str:
    """What goes out of a file of that name and content; its own text where nothing was taken out."""
    source, target = folder / "source", folder / "target"
    target.unlink(missing_ok=True)
    source.write_bytes(text.encode("utf-8", "surrogatepass"))
    result = write_cleaned(source, target, name)
    assert target.exists() == bool(result.keys)
    assert result.unclean == ""
    return target.read_bytes().decode() if result.keys else text


@pytest.mark.parametrize(
    "document",
    [
        {"hub_token": SECRET},
        {"hub_token": "nothing that looks like one"},
        {"output_dir": PRIVATE},
        {SECRET: 1, PRIVATE: 2},
        {"deep": [{"list": [[PRIVATE, {"x": SECRET}]]}]},
        {"password": 12345678},
        {"vocab": {"word": PRIVATE}},
        {"vocab": PRIVATE, "merges": [PRIVATE]},
        [PRIVATE],
        SECRET,
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "name", ["adapter_config.json", "unet/config.json", "x.JSON", "log.jsonl", "added_tokens.json"]
)
def test_a_document_loses_secrets_and_paths_and_stays_one(tmp_path: Path, name: str, document: Any) -> None:
    text = cleaned(tmp_path, name, json.dumps(document))
    assert SECRET not in text
    assert "ann" not in text
    assert "12345678" not in text
    assert "nothing that looks" not in text
    assert type(json.loads(text)) is type(document)


@pytest.mark.parametrize("indent", [None, 4])
def test_what_is_clean_stays_to_the_bit(tmp_path: Path, indent: int | None) -> None:
    document = {
        "r": 8,
        "target_modules": "(down|up)_blocks.*to_[qk]$",
        "base_model_name_or_path": "ann/x",
        "eps": 1e-05,
    }
    text = json.dumps(document, indent=indent) + "\r\n"
    assert cleaned(tmp_path, "config.json", text) == text
    assert cleaned(tmp_path, "notes.txt", "one\r\ntwo\n") == "one\r\ntwo\n"


def test_a_key_that_stands_twice_hides_nothing(tmp_path: Path) -> None:
    text = cleaned(tmp_path, "config.json", f'{{"note": "{SECRET}", "note": "fine"}}')
    assert json.loads(text) == {"note": "fine"}
    assert SECRET not in text


def test_a_secret_that_is_spelled_with_escapes_is_seen(tmp_path: Path) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in SECRET)
    assert json.loads(cleaned(tmp_path, "config.json", f'{{"x": "{escaped}"}}')) == {"x": "[removed]"}


def test_half_a_character_beside_a_secret_is_written_as_it_was(tmp_path: Path) -> None:
    text = cleaned(tmp_path, "config.json", f'{{"x": "{SECRET}", "half": "\\ud800"}}')
    assert json.loads(text)["half"] == "\ud800"


@pytest.mark.parametrize("text", [f'{{"token": "{SECRET}", }}', f"// {PRIVATE}\n{{}}", "[" * 100_000 + SECRET])
def test_what_is_no_document_after_all_is_cleaned_as_text(tmp_path: Path, text: str) -> None:
    told = cleaned(tmp_path, "broken.json", text)
    assert SECRET not in told
    assert "ann" not in told


def test_every_line_of_json_lines_is_a_document(tmp_path: Path) -> None:
    lines = [{"step": 1}, {"token": "abc"}, {"out": PRIVATE}]
    text = cleaned(tmp_path, "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines) + f"saved to {PRIVATE}\n")
    assert [json.loads(line) for line in text.splitlines()[:3]] == [
        {"step": 1},
        {"token": "[removed]"},
        {"out": "run"},
    ]
    assert "ann" not in text


@pytest.mark.parametrize("name", ["notes.txt", "README.md", "rows.csv", "run.log", "LICENSE", "train.py", "x.unknown"])
def test_every_file_that_is_text_is_cleaned_whatever_its_name(tmp_path: Path, name: str) -> None:
    text = cleaned(tmp_path, name, f"token {SECRET}\nsaved to {PRIVATE}\nas it was")
    assert SECRET not in text
    assert "ann" not in text
    assert text.endswith("\nas it was")


def test_configurations_can_still_be_read(tmp_path: Path) -> None:
    told = cleaned(tmp_path, "train.yaml", f"hub_token: {SECRET}\nsecret: abc\nout: {PRIVATE}\nkeys:\n  - {SECRET}\n")
    assert yaml.safe_load(told) == {
        "hub_token": "[removed]",
        "secret": "[removed]",
        "out": "run",
        "keys": ["[removed]"],
    }
    told = cleaned(tmp_path, "train.toml", f'hub_token = "{SECRET}"\npassword = "abc"\nout = "{PRIVATE}"\n')
    assert tomllib.loads(told) == {"hub_token": "[removed]", "password": "[removed]", "out": "run"}


def test_a_tokenizer_keeps_its_words(tmp_path: Path) -> None:
    words = ("password</w>", "/home/x", "secret", "/usr", "hf_short", "C:\\dir", "token")
    vocabulary = {word: number for number, word in enumerate(words)}
    merges = ["/ home", "/home /", "pass word</w>", "token =", "key: x"]
    assert json.loads(cleaned(tmp_path, "tokenizer/vocab.json", json.dumps(vocabulary))) == vocabulary
    document = {"model": {"vocab": vocabulary, "merges": merges}, "unk_token": "<|endoftext|>", "out": PRIVATE}
    told = json.loads(cleaned(tmp_path, "tokenizer/tokenizer.json", json.dumps(document)))
    assert told == {**document, "out": "run"}
    text = "#version: 0.2\n" + "\n".join(merges) + "\n"
    assert cleaned(tmp_path, "tokenizer/merges.txt", text) == text
    assert SECRET not in cleaned(tmp_path, "vocab.json", json.dumps({SECRET: 1, **vocabulary}))


def test_what_should_be_text_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(SECRET.encode("utf-16"))
    assert "UTF-8" in write_cleaned(tmp_path / "x", tmp_path / "out", "notes.txt").unclean
    assert write_cleaned(tmp_path / "x", tmp_path / "out", "spiece.model").unclean == ""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    assert "MiB" in write_cleaned(tmp_path / "large", tmp_path / "out", "notes.txt").unclean
    assert not (tmp_path / "out").exists()
