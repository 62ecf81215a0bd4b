"""The laws that every history of revisions obeys, as pytest-alembic states them."""

from collections.abc import Callable, Iterator

import pytest
from pytest_alembic import tests as laws
from pytest_alembic.config import Config
from pytest_alembic.runner import MigrationContext, runner
from sqlalchemy import Engine

from registry import schema

pytestmark = pytest.mark.both_databases


@pytest.fixture
def history(engine: Engine) -> Iterator[MigrationContext]:
    """The revisions, to be run on an empty database."""
    with runner(Config(config_options={"script_location": str(schema.migrations_folder())}), engine) as context:
        yield context


@pytest.mark.parametrize(
    "law",
    [
        laws.test_single_head_revision,
        laws.test_upgrade,
        laws.test_up_down_consistency,
        laws.test_model_definitions_match_ddl,
    ],
    ids=lambda law: law.__name__.removeprefix("test_"),
)
def test_the_revisions_obey(law: Callable[[MigrationContext], None], history: MigrationContext) -> None:
    law(history)
