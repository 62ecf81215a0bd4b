"""What was identified of a version, as rows: written once, and said better when its bytes are understood better."""

import json
from typing import Any

from sqlalchemy import select

from formats.findings import UNKNOWN
from registry.facts import IDENTIFIER, Facts, architecture_json
from registry.history import record
from registry.tables import AdapterFactsRow, ArchitectureRow, VersionRow
from registry.unit_of_work import UnitOfWork

IDENTIFIED = "identified"
"""The event of a version of which more is known than before."""

WHOLE = "identification"
"""The column with all of the evidence, which an event does not repeat."""

CORRECTED = tuple(column.name for column in AdapterFactsRow.__table__.c if column.name != "version_id")


def add_facts(uow: UnitOfWork, version: VersionRow, facts: Facts | None) -> None:
    """Write what was identified of a new version, and the module table of a base of a new family."""
    if facts is None:
        return
    uow.session.add(facts.row(version.id))
    _add_table(uow, version, facts)


def correct_facts(uow: UnitOfWork, version: VersionRow, facts: Facts | None) -> bool:
    """Let a version have what was found of the same bytes now, where its family is unknown or an older identifier wrote
    its facts. An event says what changed; False where nothing did.
    """
    row = uow.session.get(AdapterFactsRow, version.id)
    if facts is None or (row is not None and row.family != UNKNOWN and row.identifier == IDENTIFIER):
        return False
    fresh = facts.row(version.id)
    found = {name: _plain(getattr(fresh, name)) for name in CORRECTED}
    before = {} if row is None else {name: getattr(row, name) for name in CORRECTED}
    changed = [name for name in CORRECTED if name not in before or before[name] != found[name]]
    if not changed:
        return False
    if row is None:
        uow.session.add(fresh)
    else:
        for name in changed:
            setattr(row, name, found[name])
    _add_table(uow, version, facts)
    shown = [name for name in changed if name != WHOLE]
    told = None if row is None else {name: before[name] for name in shown}
    record(uow, IDENTIFIED, version, before=told, after={name: found[name] for name in shown})
    uow.session.flush()
    return True


def _add_table(uow: UnitOfWork, version: VersionRow, facts: Facts) -> None:
    if facts.table is None:
        return
    there = select(ArchitectureRow.id).where(ArchitectureRow.name == facts.table.name)
    if uow.session.scalar(there) is None:
        modules = architecture_json(facts.table)
        uow.session.add(ArchitectureRow(name=facts.table.name, version_id=version.id, modules=modules))


def _plain(value: Any) -> Any:
    """As the database gives it back."""
    return json.loads(json.dumps(value))
