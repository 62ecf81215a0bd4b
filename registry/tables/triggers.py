"""Rules that no constraint can say: history is append-only, what is published is frozen, states follow their table.

One list per dialect, in the order of creation; a migration carries its own frozen copy and a test compares the two.
"""

from sqlalchemy import DDL, MetaData, event

from registry.states import LEGAL_JOB_STATES


def _sqlite(name: str, moment: str, condition: str, message: str) -> str:
    when = f" WHEN {condition}" if condition else ""
    return f"CREATE TRIGGER {name} BEFORE {moment}{when} BEGIN SELECT RAISE(ABORT, '{message}'); END"


def _append_only(table: str) -> list[str]:
    message = f"{table} is append-only"
    return [
        _sqlite(f"{table}_is_never_updated", f"UPDATE ON {table}", "", message),
        _sqlite(f"{table}_is_never_deleted", f"DELETE ON {table}", "", message),
    ]


def _not_draft(row: str) -> str:
    return f"(SELECT state FROM version WHERE id = {row}.version_id) <> 'draft'"


def _frozen_artifacts() -> list[str]:
    message = "the files of a version that is no longer a draft are frozen"
    return [
        _sqlite("artifact_is_not_added", "INSERT ON artifact", _not_draft("NEW"), message),
        _sqlite("artifact_is_not_updated", "UPDATE ON artifact", _not_draft("OLD"), message),
        _sqlite("artifact_is_not_deleted", "DELETE ON artifact", _not_draft("OLD"), message),
    ]


def _frozen_versions() -> list[str]:
    return [
        _sqlite(
            "version_keeps_its_identity",
            "UPDATE OF id, model_id, number, digest ON version",
            "OLD.state <> 'draft'",
            "a version that is no longer a draft keeps its number and digest",
        ),
        _sqlite(
            "version_is_never_a_draft_again",
            "UPDATE OF state ON version",
            "OLD.state <> 'draft' AND NEW.state = 'draft'",
            "a version that was published cannot become a draft",
        ),
        _sqlite(
            "version_is_not_deleted",
            "DELETE ON version",
            "OLD.state <> 'draft'",
            "a version that is no longer a draft cannot be deleted",
        ),
    ]


def _legal_job_states() -> str:
    pairs = ", ".join(
        f"('{before}', '{after}')" for before, states in LEGAL_JOB_STATES.items() for after in sorted(states)
    )
    return _sqlite(
        "job_state_follows_its_table",
        "UPDATE OF state ON job",
        f"OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES {pairs})",
        "this job state cannot follow the present one",
    )


TRIGGERS: dict[str, list[str]] = {
    "sqlite": [
        *_append_only("event"),
        *_append_only("job_event"),
        *_frozen_artifacts(),
        *_frozen_versions(),
        _legal_job_states(),
    ]
}


def attach(metadata: MetaData) -> None:
    """Have `metadata.create_all` create the triggers after the tables."""
    for dialect, statements in TRIGGERS.items():
        for statement in statements:
            ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(metadata, "after_create", ddl.execute_if(dialect=dialect))
