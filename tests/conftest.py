"""What holds for every room's tests."""

import pytest

LONGEST = "tests/workbench/test_demo.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: processes that share the tests take them in order, and it would end last."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
