"""The search index: one entry a version, derived from the tables by a view and kept by triggers.

`search_document` (a view) says what can be found of a version: its name, title, trigger words, description and
*facets*, which are its kind, family, tags, aliases and so on as single terms. `search_entry` stores that. On SQLite two
FTS5 tables index the entries, on PostgreSQL a tsvector (GIN) and trigrams. A vocabulary says which words there are that
begin alike. Nothing but these triggers writes any of it.
"""

from collections.abc import Iterable

from sqlalchemy import DDL, MetaData, event

from registry.search.query import ACCENTS, BETWEEN_WORDS

PREFIXES = 8
"""SQLite: beginnings of words up to so many letters have an index of their own, and stream as whole words do."""

FACET = "qqfacetq"
"""How a facet's token begins on SQLite, in as many letters as PREFIXES, so that it adds one entry to each such index.

The tokeniser keeps letters and digits alone, so values follow in hexadecimal.
"""

LEXEME = "="
"""How a facet's lexeme begins on PostgreSQL; no word of a text begins so."""

NAME_WORD, HEADING_WORD = "@n", "@h"
"""On PostgreSQL, how the words of a name, and those of a name, title or trigger word, begin a second time."""

WINDOW_BITS = 17
"""PostgreSQL: so many low bits of a version's id are left out of its window, a facet that bounds a search by age."""

LONGEST_VALUE = 256
LONGEST_TEXT = 100_000
"""Characters of a facet's value, and of a text, that are indexed."""

ENTRY = ("name", "title", "words", "description", "facets")
INDEXED = ("name", "title", "document")

SINGLE: dict[str, str] = {
    "kind": "m.kind",
    "name": "m.slug",
    "license": "m.license",
    "nsfw": "CASE WHEN m.nsfw THEN 'yes' ELSE 'no' END",
    "state": "v.state",
    "author": "v.author",
    "family": "f.family",
    "adapter": "f.adapter",
    "rank": "f.rank",
}
"""Facet -> its value; what has none has the empty value."""

SEVERAL: dict[str, tuple[str, str]] = {
    "tag": ("key", "tag WHERE version_id = v.id"),
    "value": (f"key || '=' || substr(value, 1, {LONGEST_VALUE})", "tag WHERE version_id = v.id"),
    "alias": ("name", "alias_period WHERE version_id = v.id AND until IS NULL"),
    "base": (
        "parent.model_id",
        "edge JOIN version AS parent ON parent.id = edge.parent_id "
        "WHERE edge.child_id = v.id AND edge.relation = 'adapter_of'",
    ),
    "outside": (
        f"substr(external, 1, {LONGEST_VALUE})",
        "edge WHERE child_id = v.id AND relation = 'adapter_of' AND external IS NOT NULL",
    ),
    "favourite": (f"substr(principal, 1, {LONGEST_VALUE})", "favourite WHERE model_id = v.model_id"),
}
"""Facet -> its value and the rows that have one each."""

LIVE = "v.state <> 'archived' AND m.archived_at IS NULL"
FROM = (
    "FROM version AS v JOIN model AS m ON m.id = v.model_id LEFT JOIN adapter_facts AS f ON f.version_id = v.id "
    "WHERE v.removed_at IS NULL"
)
DESCRIPTION = "m.description || ' ' || coalesce(v.note, '')"


def _sqlite_view() -> str:
    single = [
        f"' {FACET}{facet}x' || hex(coalesce(substr({value}, 1, {LONGEST_VALUE}), ''))"
        for facet, value in SINGLE.items()
    ]
    several = [
        f"coalesce((SELECT group_concat(' {FACET}{facet}x' || hex({value}), '') FROM {rows}), '')"
        for facet, (value, rows) in SEVERAL.items()
    ]
    live = f"CASE WHEN {LIVE} THEN ' {FACET}livex' ELSE '' END"
    words = "coalesce((SELECT group_concat(value, ' ') FROM json_each(v.trigger_words)), '')"
    return (
        "CREATE VIEW search_document AS SELECT v.id AS version_id, m.slug AS name, m.title AS title, "
        f"{words} AS words, substr({DESCRIPTION}, 1, {LONGEST_TEXT}) AS description, "
        f"{' || '.join([live, *single, *several])} AS facets {FROM}"
    )


def _refresh(where: str) -> str:
    updated = ", ".join(f"{column} = excluded.{column}" for column in ENTRY)
    columns = ", ".join(("version_id", *ENTRY))
    return (
        f"INSERT INTO search_entry ({columns}) SELECT {columns} FROM search_document WHERE {where} "
        f"ON CONFLICT (version_id) DO UPDATE SET {updated}"
    )


def _follow(table: str, moment: str, *statements: str) -> str:
    name = f"search_follows_{table}_{moment.split()[0].lower()}"
    return f"CREATE TRIGGER {name} AFTER {moment} ON {table} BEGIN {'; '.join(statements)}; END"


def _sqlite_follow_key(table: str, key: str, where: str) -> Iterable[str]:
    """An insert, update or delete in `table` refreshes what `where` says of its `key`."""
    yield _follow(table, "INSERT", _refresh(where.format(f"NEW.{key}")))
    yield _follow(table, "UPDATE", _refresh(where.format(f"OLD.{key}, NEW.{key}")))
    yield _follow(table, "DELETE", _refresh(where.format(f"OLD.{key}")))


def _sqlite_followers() -> list[str]:
    of_version = "version_id IN ({})"
    of_model = "version_id IN (SELECT id FROM version WHERE model_id IN ({}))"
    removed = "DELETE FROM search_entry WHERE version_id = NEW.id AND NEW.removed_at IS NOT NULL"
    shown = "model_id, state, author, note, trigger_words, removed_at"
    return [
        _follow("version", "INSERT", _refresh("version_id = NEW.id")),
        _follow("version", f"UPDATE OF {shown}", _refresh("version_id = NEW.id"), removed),
        _follow(
            "model",
            "UPDATE OF slug, title, kind, description, license, nsfw, archived_at",
            _refresh(of_model.format("NEW.id")),
        ),
        *_sqlite_follow_key("adapter_facts", "version_id", of_version),
        *_sqlite_follow_key("tag", "version_id", of_version),
        *_sqlite_follow_key("alias_period", "version_id", of_version),
        *_sqlite_follow_key("edge", "child_id", of_version),
        *_sqlite_follow_key("favourite", "model_id", of_model),
    ]


def _sqlite_indexed(table: str, columns: tuple[str, ...], changed: str) -> list[str]:
    """Triggers that keep an FTS5 table like the entries; `changed` says which updates concern it."""
    listed = ", ".join(columns)
    new = f"INSERT INTO {table} (rowid, {listed}) VALUES (NEW.version_id, {', '.join(f'NEW.{c}' for c in columns)})"
    old = (
        f"INSERT INTO {table} ({table}, rowid, {listed}) "
        f"VALUES ('delete', OLD.version_id, {', '.join(f'OLD.{c}' for c in columns)})"
    )
    return [
        f"CREATE TRIGGER {table}_is_added AFTER INSERT ON search_entry BEGIN {new}; END",
        f"CREATE TRIGGER {table}_is_updated AFTER UPDATE ON search_entry WHEN {changed} BEGIN {old}; {new}; END",
        f"CREATE TRIGGER {table}_is_deleted AFTER DELETE ON search_entry BEGIN {old}; END",
    ]


def _differ(columns: tuple[str, ...]) -> str:
    return " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in columns)


SQLITE_INDEXES = [
    f"CREATE VIRTUAL TABLE search_text USING fts5({', '.join(ENTRY)}, content='search_entry', "
    "content_rowid='version_id', columnsize=0, tokenize='unicode61 remove_diacritics 2', "
    f"prefix='{' '.join(map(str, range(1, PREFIXES + 1)))}')",
    "CREATE VIRTUAL TABLE search_vocabulary USING fts5vocab(search_text, row)",
    "CREATE VIRTUAL TABLE search_trigram USING fts5(name, title, content='search_entry', "
    "content_rowid='version_id', columnsize=0, detail='none', tokenize='trigram')",
]

SQLITE = [
    _sqlite_view(),
    "CREATE TABLE search_entry (version_id INTEGER NOT NULL PRIMARY KEY REFERENCES version (id) ON DELETE CASCADE, "
    f"{', '.join(f'{column} TEXT NOT NULL' for column in ENTRY)})",
    "CREATE INDEX search_entry_by_name ON search_entry (name, version_id)",
    *SQLITE_INDEXES,
    *_sqlite_indexed("search_text", ENTRY, _differ(ENTRY)),
    *_sqlite_indexed("search_trigram", ("name", "title"), _differ(("name", "title"))),
    *_sqlite_followers(),
]

WORDS_OF = (
    "CREATE FUNCTION search_words(said text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ "
    "SELECT lower(regexp_replace(regexp_replace("
    f"normalize(left(said, {LONGEST_TEXT}), NFD), '{ACCENTS}', '', 'g'), "
    f"'{BETWEEN_WORDS}', ' ', 'g')) $$"
)

MARKED = (
    "CREATE FUNCTION search_marked(mark text, said text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ "
    "SELECT array(SELECT mark || word FROM "
    "unnest(tsvector_to_array(to_tsvector('simple', search_words(said)))) AS word) $$"
)


def _postgresql_view() -> str:
    words = "coalesce((SELECT string_agg(value, ' ') FROM jsonb_array_elements_text(v.trigger_words) AS value), '')"
    fields = {"A": "m.slug", "B": "m.title", "C": words, "D": DESCRIPTION}
    text = [f"setweight(to_tsvector('simple', search_words({said})), '{weight}')" for weight, said in fields.items()]
    single = [
        f"'{LEXEME}{facet}:' || coalesce(left(({value})::text, {LONGEST_VALUE}), '')" for facet, value in SINGLE.items()
    ]
    several = [
        f"array(SELECT '{LEXEME}{facet}:' || ({value})::text FROM {rows})" for facet, (value, rows) in SEVERAL.items()
    ]
    facets = [
        f"ARRAY[{', '.join(single)}, '{LEXEME}window:' || (v.id >> {WINDOW_BITS})]",
        f"CASE WHEN {LIVE} THEN ARRAY['{LEXEME}live:'] ELSE '{{}}' END",
        *several,
        f"search_marked('{NAME_WORD}', m.slug)",
        f"search_marked('{HEADING_WORD}', m.slug || ' ' || m.title || ' ' || {words})",
    ]
    return (
        "CREATE VIEW search_document AS SELECT v.id AS version_id, m.slug AS name, m.title AS title, "
        f"{' || '.join(text)} || array_to_tsvector({' || '.join(facets)}) AS document {FROM}"
    )


def _postgresql_refresh() -> str:
    columns = ", ".join(("version_id", *INDEXED))
    updated = ", ".join(f"{column} = excluded.{column}" for column in INDEXED)
    now, then = (", ".join(f"{row}.{column}" for column in INDEXED) for row in ("search_entry", "excluded"))
    return (
        "CREATE FUNCTION search_refresh(changed bigint) RETURNS void LANGUAGE sql AS $$ "
        f"INSERT INTO search_entry ({columns}) SELECT {columns} FROM search_document WHERE version_id = changed "
        f"ON CONFLICT (version_id) DO UPDATE SET {updated} WHERE ({now}) IS DISTINCT FROM ({then}) $$"
    )


def _postgresql_follow(table: str, moment: str, key: str, refresh: str) -> list[str]:
    """A function that refreshes, and the trigger that calls it; `{0}` in `refresh` is the row's `key`."""
    new, old = (refresh.format(f"{row}.{key}") for row in ("NEW", "OLD"))
    body = (
        f"IF TG_OP = 'DELETE' THEN {old}; ELSE {new}; END IF; "
        f"IF TG_OP = 'UPDATE' THEN IF OLD.{key} <> NEW.{key} THEN {old}; END IF; END IF; RETURN NULL;"
    )
    name = f"search_follows_{table}"
    return [
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        f"CREATE TRIGGER {name} AFTER {moment} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
    ]


def _postgresql_followers() -> list[str]:
    anything = "INSERT OR UPDATE OR DELETE"
    of_version = "PERFORM search_refresh({0})"
    of_model = "PERFORM search_refresh(id) FROM version WHERE model_id = {0}"
    removed = "DELETE FROM search_entry WHERE version_id = {0} AND NEW.removed_at IS NOT NULL"
    shown = "INSERT OR UPDATE OF model_id, state, author, note, trigger_words, removed_at"
    titled = "UPDATE OF slug, title, kind, description, license, nsfw, archived_at"
    return [
        *_postgresql_follow("version", shown, "id", f"{of_version}; {removed}"),
        *_postgresql_follow("model", titled, "id", of_model),
        *_postgresql_follow("adapter_facts", anything, "version_id", of_version),
        *_postgresql_follow("tag", anything, "version_id", of_version),
        *_postgresql_follow("alias_period", anything, "version_id", of_version),
        *_postgresql_follow("edge", anything, "child_id", of_version),
        *_postgresql_follow("favourite", anything, "model_id", of_model),
    ]


WORDS_IN = "SELECT DISTINCT word FROM {} unnest(tsvector_to_array({})) AS word WHERE left(word, 1) NOT IN ('=', '@')"
"""The words of documents, without facets and what is marked."""

VOCABULARY = [
    'CREATE TABLE search_word (word text COLLATE "C" NOT NULL PRIMARY KEY)',
    "CREATE FUNCTION search_learns_words() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    f"INSERT INTO search_word {WORDS_IN.format('', 'NEW.document')} ON CONFLICT DO NOTHING; RETURN NULL; END $$",
    "CREATE TRIGGER search_learns_words AFTER INSERT OR UPDATE OF document ON search_entry "
    "FOR EACH ROW EXECUTE FUNCTION search_learns_words()",
]
"""PostgreSQL: every word that a document has or had, as FTS5's vocabulary on SQLite."""

STATISTICS = 1_000
"""PostgreSQL: how far the planner knows how frequent each lexeme is: ten times as many of them, the most frequent."""

POSTGRESQL_INDEXES = [
    "CREATE INDEX search_entry_by_name ON search_entry (name, version_id)",
    "CREATE INDEX search_entry_document ON search_entry USING gin (document) WITH (gin_pending_list_limit = 256)",
    "CREATE INDEX search_entry_trigrams ON search_entry USING gin (name gin_trgm_ops, title gin_trgm_ops) "
    "WITH (gin_pending_list_limit = 256)",
]

POSTGRESQL = [
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    WORDS_OF,
    MARKED,
    _postgresql_view(),
    "CREATE TABLE search_entry (version_id bigint NOT NULL PRIMARY KEY REFERENCES version (id) ON DELETE CASCADE, "
    'name text COLLATE "C" NOT NULL, title text NOT NULL, document tsvector NOT NULL)',
    *POSTGRESQL_INDEXES,
    *VOCABULARY,
    f"ALTER TABLE search_entry ALTER COLUMN document SET STATISTICS {STATISTICS}",
    _postgresql_refresh(),
    *_postgresql_followers(),
]

SEARCH: dict[str, list[str]] = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
"""Dialect -> what makes the index, in the order of creation."""

FILL: dict[str, list[str]] = {
    "sqlite": [
        "INSERT INTO search_entry SELECT * FROM search_document",
        "INSERT INTO search_text (search_text) VALUES ('rebuild')",
        "INSERT INTO search_trigram (search_trigram) VALUES ('rebuild')",
    ],
    "postgresql": [
        "INSERT INTO search_entry SELECT * FROM search_document",
        f"INSERT INTO search_word {WORDS_IN.format('search_entry,', 'document')} ON CONFLICT DO NOTHING",
    ],
}
"""Dialect -> what fills an index whose entries are gone."""


def attach(metadata: MetaData) -> None:
    """Have `metadata.create_all` create the index after the tables."""
    for dialect, statements in SEARCH.items():
        for statement in statements:
            ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(metadata, "after_create", ddl.execute_if(dialect=dialect))
