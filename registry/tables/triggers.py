"""Rules that no constraint can say: history is append-only, what is published is frozen, states follow their table.

Each rule is one sentence of SQL that both databases understand, written as SQLite's trigger and as PostgreSQL's.
A migration carries its own frozen copy, and a test compares the two.
"""

from dataclasses import dataclass

from sqlalchemy import DDL, MetaData, event

from registry.states import LEGAL_JOB_STATES

APPEND_ONLY = ("event", "job_event")


@dataclass(frozen=True)
class Rule:
    """At `moment` ("UPDATE OF state ON job") a row that meets `condition` is refused with `message`."""

    name: str
    moment: str
    condition: str
    message: str

    def on_sqlite(self) -> list[str]:
        """The trigger, its condition in its head."""
        when = f" WHEN {self.condition}" if self.condition else ""
        refuse = f"SELECT RAISE(ABORT, '{self.message}')"
        return [f"CREATE TRIGGER {self.name} BEFORE {self.moment}{when} BEGIN {refuse}; END"]

    def on_postgresql(self) -> list[str]:
        """The trigger and a function of the same name: a trigger's head may not look into other tables."""
        refuse = f"RAISE EXCEPTION '{self.message}' USING ERRCODE = 'integrity_constraint_violation';"
        body = f"IF {self.condition} THEN {refuse} END IF; RETURN COALESCE(NEW, OLD);" if self.condition else refuse
        return [
            f"CREATE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
            f"CREATE TRIGGER {self.name} BEFORE {self.moment} FOR EACH ROW EXECUTE FUNCTION {self.name}()",
        ]


def _append_only(table: str) -> list[Rule]:
    message = f"{table} is append-only"
    return [
        Rule(f"{table}_is_never_updated", f"UPDATE ON {table}", "", message),
        Rule(f"{table}_is_never_deleted", f"DELETE ON {table}", "", message),
    ]


def _never_truncated(table: str) -> str:
    """PostgreSQL alone can empty a table without deleting a row."""
    return (
        f"CREATE TRIGGER {table}_is_never_truncated BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_never_deleted()"
    )


def _not_draft(row: str) -> str:
    return f"(SELECT state FROM version WHERE id = {row}.version_id) <> 'draft'"


def _frozen_artifacts() -> list[Rule]:
    message = "the files of a version that is no longer a draft are frozen"
    return [
        Rule("artifact_is_not_added", "INSERT ON artifact", _not_draft("NEW"), message),
        Rule("artifact_is_not_updated", "UPDATE ON artifact", _not_draft("OLD"), message),
        Rule("artifact_is_not_deleted", "DELETE ON artifact", _not_draft("OLD"), message),
    ]


def _frozen_versions() -> list[Rule]:
    return [
        Rule(
            "version_keeps_its_identity",
            "UPDATE OF id, model_id, number, digest ON version",
            "OLD.state <> 'draft'",
            "a version that is no longer a draft keeps its number and digest",
        ),
        Rule(
            "version_is_never_a_draft_again",
            "UPDATE OF state ON version",
            "OLD.state <> 'draft' AND NEW.state = 'draft'",
            "a version that was published cannot become a draft",
        ),
        Rule(
            "version_is_not_deleted",
            "DELETE ON version",
            "OLD.state <> 'draft'",
            "a version that is no longer a draft cannot be deleted",
        ),
    ]


def _legal_job_states() -> Rule:
    pairs = ", ".join(
        f"('{before}', '{after}')" for before, states in LEGAL_JOB_STATES.items() for after in sorted(states)
    )
    return Rule(
        "job_state_follows_its_table",
        "UPDATE OF state ON job",
        f"OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES {pairs})",
        "this job state cannot follow the present one",
    )


def _used_versions() -> list[Rule]:
    """What another version was made from stays; a successor (`supersedes`) was not made from its predecessor."""
    used = (
        "SELECT 1 FROM edge JOIN version AS child ON child.id = edge.child_id "
        "WHERE edge.parent_id = NEW.id AND edge.relation <> 'supersedes' AND child.removed_at IS NULL"
    )
    return [
        Rule(
            "version_is_not_removed_while_used",
            "UPDATE OF removed_at ON version",
            f"NEW.removed_at IS NOT NULL AND OLD.removed_at IS NULL AND EXISTS ({used})",
            "a version that others were made from cannot be removed",
        ),
        Rule(
            "edge_names_no_removed_version",
            "INSERT ON edge",
            "NEW.relation <> 'supersedes' AND "
            "EXISTS (SELECT 1 FROM version WHERE id = NEW.parent_id AND removed_at IS NOT NULL)",
            "a version that was removed cannot become a parent",
        ),
    ]


def _kept_past() -> list[Rule]:
    return [
        Rule(
            "alias_period_keeps_its_past",
            "UPDATE ON alias_period",
            "OLD.until IS NOT NULL OR (NEW.model_id, NEW.version_id, NEW.name, NEW.since) "
            "<> (OLD.model_id, OLD.version_id, OLD.name, OLD.since)",
            "what an alias meant in the past cannot be changed",
        ),
        Rule(
            "alias_period_is_never_deleted",
            "DELETE ON alias_period",
            "",
            "what an alias meant in the past cannot be changed",
        ),
        Rule(
            "model_numbers_never_fall",
            "UPDATE OF next_number ON model",
            "NEW.next_number < OLD.next_number",
            "a version number is never given twice",
        ),
        Rule(
            "blob_keeps_its_content",
            "UPDATE OF sha256, size, blake3 ON blob",
            "(NEW.sha256, NEW.size, NEW.blake3) <> (OLD.sha256, OLD.size, OLD.blake3)",
            "the digests of a blob never change",
        ),
    ]


RULES: tuple[Rule, ...] = (
    *(rule for table in APPEND_ONLY for rule in _append_only(table)),
    *_frozen_artifacts(),
    *_frozen_versions(),
    _legal_job_states(),
    *_used_versions(),
    *_kept_past(),
)

TRIGGERS: dict[str, list[str]] = {
    "sqlite": [statement for rule in RULES for statement in rule.on_sqlite()],
    "postgresql": [
        *(statement for rule in RULES for statement in rule.on_postgresql()),
        *map(_never_truncated, APPEND_ONLY),
    ],
}


def attach(metadata: MetaData) -> None:
    """Have `metadata.create_all` create the triggers after the tables."""
    for dialect, statements in TRIGGERS.items():
        for statement in statements:
            ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(metadata, "after_create", ddl.execute_if(dialect=dialect))
