"""Favourites: the models that each principal keeps at hand."""

from registry.errors import InvalidName
from registry.history import record_model
from registry.references import resolve
from registry.tables import FavouriteRow, VersionRow
from registry.tables.search import LONGEST_VALUE
from registry.unit_of_work import UnitOfWork


def set_favourite(uow: UnitOfWork, ref: str, principal: str | None, *, wanted: bool) -> VersionRow:
    """Keep the model of a version at hand for a principal (the actor where None), or no longer."""
    who = principal or uow.actor
    if len(who) > LONGEST_VALUE:
        raise InvalidName(f"principal of {len(who)} characters: expected {LONGEST_VALUE} at most.")
    version = resolve(uow, ref)
    row = uow.session.get(FavouriteRow, (who, version.model_id))
    if (row is not None) == wanted:
        return version
    if row is None:
        uow.session.add(FavouriteRow(principal=who, model_id=version.model_id))
        record_model(uow, "favoured", version.model, after={"principal": who})
    else:
        uow.session.delete(row)
        record_model(uow, "unfavoured", version.model, before={"principal": who})
    uow.session.flush()
    return version
