import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import scrub
from formats.scrubbing import MAX_DEPTH, REMOVED, scrub_text

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)

TOKENS = [
    r"hf_[A-Za-z0-9]{34}",
    r"gh[pousr]_[A-Za-z0-9]{36}",
    r"github_pat_[A-Za-z0-9_]{40}",
    r"glpat-[A-Za-z0-9]{20}",
    r"sk-[A-Za-z0-9]{32}",
    r"AKIA[0-9A-Z]{16}",
    r"AIza[A-Za-z0-9]{35}",
    r"xoxb-[0-9]{11}-[A-Za-z0-9]{24}",
    r"r8_[A-Za-z0-9]{37}",
    r"eyJ[A-Za-z0-9]{20}\.eyJ[A-Za-z0-9]{20}\.[A-Za-z0-9]{20}",
]
USER = "zorblatt"
"""A name that no text has by chance."""

PATHS = [
    f"/home/{USER}/models/sd15.safetensors",
    f"/home/{USER}",
    f"/Users/{USER}/Stable Diffusion/my model.ckpt",
    f"/Users/{USER}/",
    f"/mnt/c/Users/{USER}/x.png",
    f"/workspace/{USER}/out/last.safetensors",
    f"/nobody/{USER}/knows/this-root.txt",
    f"~{USER}/models/a.ckpt",
    f"~/{USER}/a.ckpt",
    f"C:\\Users\\{USER}\\models\\sd v1.safetensors",
    f"C:\\Users\\{USER}",
    f"d:/{USER}/loras/x.safetensors",
    f"D:\\\\{USER}\\\\loras\\\\x.safetensors",
    f"\\\\{USER}-nas\\share\\lora\\x.safetensors",
    f"\\\\{USER}-nas\\share",
    f"\\\\?\\C:\\{USER}\\x.bin",
    f"\\\\?\\UNC\\{USER}\\share\\x.bin",
    f"\\\\wsl$\\Ubuntu\\home\\{USER}\\x.bin",
    f"file:///home/{USER}/x.safetensors",
    f"smb://{USER}/share/x.safetensors",
    f"http://{USER}:7860/file=/x.png",
    f"http://localhost:7860/file=/home/{USER}/x.png",
    f"http://{USER}.local/x",
    f"https://abc.example.org/file=/home/{USER}/x.png",
]
CREDENTIALS = [
    f"https://{USER}:pw@example.org/x",
    f"https://{USER}@example.org/x",
    f"https://example.org/x?token={USER}",
    f"https://example.org/x?a=1&api_key={USER}&b=2",
    f"https://example.org/x#access_token={USER}",
    f"https://bucket.s3.amazonaws.com/k?X-Amz-Signature={USER}&X-Amz-Credential={USER}",
    f"https://account.blob.core.windows.net/k?sv=1&sig={USER}",
    f"postgresql://{USER}:{USER}@db.example.org/tau",
    f"s3://bucket/key?secret={USER}",
    f"https://example.org/x?path=/home/{USER}/y",
    f"Authorization: Bearer {USER}0123456789",
    f"--hub_token {USER}",
    f"--wandb-api-key={USER}",
    f"password: {USER}",
    f'{{"broken": "json", "api_key": "{USER}"',
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{USER}\n-----END OPENSSH PRIVATE KEY-----",
]
CONTEXTS = [
    "{}",
    "trained from {}",
    "python train.py --pretrained={} --lr 1e-4",
    "a, {}, b",
    "[{}]",
    "see ({}) and https://huggingface.co/x/y",
    "{}\nnext line",
]


def everywhere(text: str) -> list[Any]:
    """Metadata with `text` at every place where one can stand."""
    document = {"path": text, "list": [{"deep": [text]}], text: {"image_count": 3}}
    return [
        {"key": text},
        {text: "value"},
        {"ot_config": json.dumps(document)},
        {"ot_config": json.dumps({"inner": json.dumps(document)})},
        {"ss_datasets": json.dumps([document])},
        {"repr": repr({"path": text})},
        document,
    ]


@PROPERTY
@given(st.sampled_from(TOKENS).flatmap(lambda form: st.from_regex(form, fullmatch=True)), st.sampled_from(CONTEXTS))
def test_no_known_token_survives_anywhere(token: str, context: str) -> None:
    for metadata in everywhere(context.format(token)):
        assert token not in json.dumps(scrub(metadata))


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("text", [*PATHS, *CREDENTIALS])
def test_no_user_and_no_machine_survives_anywhere(text: str, context: str) -> None:
    for metadata in everywhere(context.replace("{}", text)):
        assert USER not in json.dumps(scrub(metadata))


@pytest.mark.parametrize(
    "name",
    [
        *("huggingface_token", "hf_token", "HF-Token", "token", "password", "hub_passwd", "api_key", "wandb_api_key"),
        *("aws_secret_access_key", "client_secret", "Authorization", "cookie", "ssh_key_file", "private_key"),
        *("access_token", "credentials", "secrets", "wandb_key"),
    ],
)
def test_what_stands_under_a_secret_name_is_removed_to_the_last_leaf(name: str) -> None:
    value = {"a": "x", "b": [1, {"c": "y"}], "unset": "", "none": None, "off": False}
    blank = {"a": REMOVED, "b": [REMOVED, {"c": REMOVED}], "unset": "", "none": None, "off": False}
    assert scrub({name: value}) == {name: blank}
    assert json.loads(scrub({"ot_config": json.dumps({name: value})})["ot_config"]) == {name: blank}


HARMLESS = {
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
    "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
    "modelspec.title": "Papercut and/or 1/2 of it, 16:9, v1.0",
    "modelspec.description": "Strength 0.8/1.0. See https://huggingface.co/a/b?x=1#y or hf://a/b. Secret garden style.",
    "modelspec.thumbnail": "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD/home/2Q==",
    "modelspec.hash_sha256": "0x" + "ab" * 32,
    "ss_max_token_length": "225",
    "ss_keep_tokens": "1",
    "ss_session_id": "1234567890",
    "ss_sd_model_name": "runwayml/stable-diffusion-v1-5",
    "ss_resolution": "(512, 512)",
    "ss_sd_scripts_commit_hash": "ab" * 20,
    "ss_tag_frequency": '{"10_papercut": {"1girl": 3,  "a / b": 2}}',
    "ss_datasets": '[{"keep_tokens_separator": "|||", "class_tokens": "papercut", "token_warmup_min": 1}]',
    "ss_network_args": '{"conv_dim": "4"}',
    "output": "./output/lora.safetensors, ..\\x",
}


def test_what_is_harmless_stays_to_the_letter() -> None:
    assert scrub(HARMLESS) == HARMLESS


def test_the_last_name_of_a_path_stays_where_it_tells_no_user() -> None:
    said = {
        "posix": "/home/ann/models/sd15.safetensors",
        "windows": "C:\\Users\\Ann Lee\\models\\sd v1.safetensors",
        "unc": "\\\\nas\\share\\team\\x.ckpt",
        "quoted": "{'a': '/mnt/d/10_papercut'}",
        "two": "/home/a/x.png, /home/b/y.png",
        "odd": "/home/o'brien/it, is/x=1.safetensors",
    }
    assert scrub(said) == {
        "posix": "sd15.safetensors",
        "windows": "sd v1.safetensors",
        "unc": "x.ckpt",
        "quoted": "{'a': '10_papercut'}",
        "two": "x.png, y.png",
        "odd": "x=1.safetensors",
    }


def test_two_folders_with_one_last_name_stay_two_entries() -> None:
    dirs = {"/data/a/10_cat": {"img_count": 3}, "/data/b/10_cat": {"img_count": 4}, "10_cat (2)": {"img_count": 5}}
    assert sorted(one["img_count"] for one in scrub(dirs).values()) == [3, 4, 5]
    assert next(iter(scrub(dirs))) == "10_cat"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
fragments = st.lists(st.sampled_from([*PATHS, *CREDENTIALS, *HARMLESS.values(), " ", "=", '"', "/", "\\", "[removed]"]))


@PROPERTY
@given(st.dictionaries(st.text(max_size=10), json_values, max_size=4), fragments)
def test_scrubbing_again_changes_nothing_more(metadata: dict[str, Any], pieces: list[str]) -> None:
    once = scrub({**metadata, "text": "".join(pieces[:6]), "json": json.dumps(metadata)})
    assert scrub(once) == once


def test_a_document_is_followed_to_a_depth_and_removed_below() -> None:
    deep: Any = "/home/ann/x"
    for _ in range(10 * MAX_DEPTH):
        deep = [deep]
    assert REMOVED in json.dumps(scrub({"deep": deep}))
    assert "ann" not in json.dumps(scrub({"deep": deep, "text": json.dumps(deep), "bomb": "[" * 100_000}))


HOSTILE = [
    *("a", "/", "\\", "/home ", "/home/", "c:/", "c:/x ", "~/", "-a", "--a", "eyJ-", "secret ", 'secret="', "data:"),
    *("http://", "@", "x://a?&b", "-----BEGIN ", "Bearer ", "hub_token "),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_hostile_text_is_scrubbed_too(piece: str) -> None:
    """Every expression is linear in the text, or nearly: a quadratic one would not end before the time-out."""
    text = piece * (100_000 // len(piece))
    assert USER not in scrub_text(f"{text} /home/{USER} {text}")


def test_many_paths_with_one_last_name_are_all_kept() -> None:
    assert len(scrub({f"/data/{number}/x": number for number in range(20_000)})) == 20_000
