"""Rules that no constraint can say: history is append-only, what is published is frozen, states follow their table.

Each rule is one sentence of SQL that both databases understand, written as SQLite's trigger and as PostgreSQL's.
A migration carries its own frozen copy, and a test compares the two.
"""

from dataclasses import dataclass

from sqlalchemy import DDL, MetaData, event

from registry.states import LEGAL_JOB_STATES

APPEND_ONLY = ("event", "job_event")
NEVER_EMPTIED = (*APPEND_ONLY, "alias_period", "version", "artifact", "adapter_facts", "origin", "edge")

TRUNCATION = (
    "CREATE FUNCTION table_is_never_truncated() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
    "USING MESSAGE = TG_TABLE_NAME || ' is never emptied', ERRCODE = 'integrity_constraint_violation'; END $$"
)


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
        _never_replaced(table, "id = NEW.id"),
    ]


def _never_truncated(table: str) -> str:
    """PostgreSQL alone can empty a table without deleting a row."""
    return (
        f"CREATE TRIGGER {table}_is_never_truncated BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION table_is_never_truncated()"
    )


def _never_replaced(table: str, there: str) -> Rule:
    """SQLite's INSERT OR REPLACE deletes the row that stands in its way, and no trigger of deletion sees it."""
    exists = f"EXISTS (SELECT 1 FROM {table} WHERE {there})"
    return Rule(f"{table}_is_never_replaced", f"INSERT ON {table}", exists, f"a row of {table} is never replaced")


def _not_draft(row: str, column: str = "version_id") -> str:
    return f"(SELECT state FROM version WHERE id = {row}.{column}) <> 'draft'"


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
        _never_replaced(
            "version",
            "state <> 'draft' AND "
            "(id = NEW.id OR model_id = NEW.model_id AND (number = NEW.number OR digest = NEW.digest))",
        ),
    ]


def _kept_provenance() -> list[Rule]:
    """Where a version came from is said once; to which base it belongs can be a guess, and be taken back. What was
    identified may be said better, but is neither lost nor moved.
    """
    came, made = "where a published version came from cannot be changed", "what a version was made from is kept"
    found = "what was identified of a published version stays with it"
    same = " OR ".join(f"{parent} = NEW.{parent}" for parent in ("parent_id", "dataset_id", "job_id", "external"))
    again = f"child_id = NEW.child_id AND relation = NEW.relation AND position = NEW.position AND ({same})"
    published = _not_draft("OLD", "child_id")
    return [
        Rule("origin_is_not_updated", "UPDATE ON origin", _not_draft("OLD"), came),
        Rule("origin_is_not_deleted", "DELETE ON origin", _not_draft("OLD"), came),
        _never_replaced("origin", "version_id = NEW.version_id"),
        Rule("edge_is_never_updated", "UPDATE ON edge", "", made),
        Rule("edge_is_not_deleted", "DELETE ON edge", f"OLD.relation <> 'adapter_of' AND {published}", made),
        _never_replaced("edge", f"id = NEW.id OR {again}"),
        Rule("adapter_facts_keep_their_version", "UPDATE OF version_id ON adapter_facts", _not_draft("OLD"), found),
        Rule("adapter_facts_are_not_deleted", "DELETE ON adapter_facts", _not_draft("OLD"), found),
        _never_replaced("adapter_facts", "version_id = NEW.version_id"),
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
        _never_replaced(
            "alias_period",
            "id = NEW.id OR model_id = NEW.model_id AND name = NEW.name AND until IS NULL AND NEW.until IS NULL",
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
    *_kept_provenance(),
    _legal_job_states(),
    *_used_versions(),
    *_kept_past(),
)

TRIGGERS: dict[str, list[str]] = {
    "sqlite": [statement for rule in RULES for statement in rule.on_sqlite()],
    "postgresql": [
        *(statement for rule in RULES for statement in rule.on_postgresql()),
        TRUNCATION,
        *map(_never_truncated, NEVER_EMPTIED),
    ],
}


def attach(metadata: MetaData) -> None:
    """Have `metadata.create_all` create the triggers after the tables."""
    for dialect, statements in TRIGGERS.items():
        for statement in statements:
            ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(metadata, "after_create", ddl.execute_if(dialect=dialect))
