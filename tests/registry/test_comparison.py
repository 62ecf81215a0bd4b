from pathlib import Path

from registry import Registry
from registry.comparison import Difference, differences


def test_two_versions_differ_in_what_is_said_in_tags_and_in_files_and_in_nothing_else(
    registry: Registry, tmp_path: Path
) -> None:
    for content in ("1", "2"):
        (tmp_path / "note.txt").write_text(content)
        registry.add(tmp_path / "note.txt", kind="other", tags={"set": content, "same": "x"}, note=content)
    one, two = registry.get("note:1"), registry.get("note:2")
    assert differences(one, one) == ()
    assert differences(one, two) == (
        Difference("note", "1", "2"),
        Difference("tag set", "1", "2"),
        Difference(
            "file weights.txt",
            f"sha256:{one.artifacts[0].sha256[:12]}",
            f"sha256:{two.artifacts[0].sha256[:12]}",
        ),
    )


def test_what_only_one_has_is_a_difference(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("1")
    before = registry.add(tmp_path / "note.txt", kind="other")
    after = registry.tag("note", "set", "yes")
    assert differences(before, after) == (Difference("tag set", None, "yes"),)
    assert differences(after, before) == (Difference("tag set", "yes", None),)
