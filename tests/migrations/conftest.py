"""Keeps the settings of whoever runs the tests away from them."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of whoever runs the tests reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "DATABASE_URL", "BLOB_URL", "USER"):
            patch.delenv(f"TAU_{name}", raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield
