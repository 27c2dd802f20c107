"""The SQL of domain tables, composed from a table's declaration: the only module that does so.

It sends nothing. A statement has the name of the function in `merge`, `erase` or `age` that sends it, where there is
one. `t` is the stored row, `excluded` or `s` the incoming one.

The rows of a batch are found by an index, whatever PostgreSQL knows of the table. Without statistics it assumes that
an account has few rows, and would read them all for each batch. So a lookup is a subquery for each row, or a join with
a materialized CTE that brings the account along (_asked).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import ParamSpec, cast

from psycopg import sql
from psycopg.sql import SQL, Composable, Identifier, Literal, Placeholder

from ebaysync.store.table import Column, Table

P = ParamSpec("P")
Composed = sql.Composed


class Made(bytes):
    """A statement that is composed once for a table, and sent many times."""


def _once(compose: Callable[P, Composed]) -> Callable[P, Made]:
    """Composing a statement takes longer than sending it."""

    def made(*args: P.args, **kwargs: P.kwargs) -> Made:
        return Made(compose(*args, **kwargs).as_bytes(None))

    return cast("Callable[P, Made]", cache(made))


RAW = Column("raw_payload", "jsonb")

_EMPTIED = SQL("jsonb_typeof(t.raw_payload) = 'null'")
_NOTHING = SQL("")


# merge: rows are written


@_once
def upsert(table: Table) -> Composed:
    """Store the rows of which %(typed)s are the columns and %(payloads)s the documents. Return key, whether it is new,
    and the old and new version of each row that is new or has changed; of a stale row, the key alone.

    The outer SELECT of a data-modifying CTE sees the table as it was before. A temporary table instead would leave dead
    rows in the catalogue at every run. Rows are written in the order of the key, so that two writers cannot deadlock.
    Unchanged rows are left out before the INSERT, which would lock them: that writes to the table and to the WAL. There
    the incoming row is `excluded` as well, so that one expression serves both places. It is asked again in the INSERT,
    because another writer may have stored the same meanwhile.
    """
    written = [column for column in (*table.columns, RAW) if column.name not in table.key]
    changed = _changed(table, written[:-1])
    if table.removable:
        changed = SQL("({} OR t.removed_at IS NOT NULL)").format(changed)
    guard: Composable = SQL("true")
    stale: Composable = SQL("false")
    before = SQL("FROM {} o WHERE o.ebay_account_id = %(account)s AND ({}) = ({})").format(
        Identifier(table.name), _of("o", table.key), _of("s", table.key)
    )
    if table.version:
        guard = SQL("t.{0} IS NULL OR excluded.{0} >= t.{0}").format(Identifier(table.version))
        stale = SQL("s.{0} < (SELECT o.{0} {1})").format(Identifier(table.version), before)
    return SQL(
        """
        WITH s AS MATERIALIZED (
            SELECT * FROM ROWS FROM (json_to_recordset(%(typed)s::json) AS ({typed}), unnest(%(payloads)s::jsonb[]))
            AS x ({columns})),
        touched AS (
            INSERT INTO {table} AS t (ebay_account_id, {columns})
            SELECT %(account)s, {columns} FROM s AS excluded
            WHERE (SELECT {changed} FROM {table} t WHERE (t.ebay_account_id, {t_key}) = (%(account)s, {s_key}))
                IS NOT FALSE
            ORDER BY {key}
            ON CONFLICT (ebay_account_id, {key}) DO UPDATE SET ({written}) = (
                SELECT {assigned} FROM (SELECT {emptied} AS emptied OFFSET 0) was),
                updated_at = clock_timestamp() {returned}
            WHERE {changed} AND ({guard})
            RETURNING {key}, (xmax = 0) AS inserted, CASE WHEN xmax <> 0 THEN to_jsonb(t)::text END AS now)
        SELECT ARRAY[{key_text}], touched.inserted,
            CASE WHEN NOT touched.inserted THEN (SELECT to_jsonb(o)::text {before}) END, touched.now
        FROM s LEFT JOIN touched USING ({key})
        WHERE touched.inserted IS NOT NULL OR {stale}
        """
    ).format(
        typed=_definitions(table.columns),
        table=Identifier(table.name),
        columns=_each([*_names(table.columns), RAW.name]),
        key=_each(table.key),
        written=_each(_names(written)),
        emptied=_EMPTIED,
        assigned=_list(
            SQL("CASE WHEN was.emptied THEN {} ELSE {} END").format(_remaining(table, column), _incoming(table, column))
            for column in written
        ),
        returned=SQL(", removed_at = NULL" if table.removable else ""),
        changed=changed,
        t_key=_of("t", table.key),
        s_key=_of("excluded", table.key),
        guard=guard,
        stale=stale,
        key_text=_each(table.key, "s.{}::text"),
        before=before,
    )


def _changed(table: Table, typed: Sequence[Column]) -> Composed:
    """Whether the incoming row differs from the stored one; without a stored payload, by its typed columns alone."""
    names, remaining = _names(typed), _list(_remaining(table, column) for column in typed)
    old, new = Identifier("t", RAW.name), _incoming(table, RAW)
    return SQL("CASE WHEN {emptied} THEN {some} ELSE ({old}) IS DISTINCT FROM ({new}) END").format(
        emptied=_EMPTIED,
        some=SQL("({}) IS DISTINCT FROM ({})").format(_of("t", names), remaining) if typed else SQL("false"),
        old=_list([*(Identifier("t", name) for name in names), _steady(table, old)]),
        new=_list([*(_incoming(table, column) for column in typed), _steady(table, new)]),
    )


def _incoming(table: Table, column: Column) -> Composable:
    """The new value of a column: the incoming one, or for a kept column the stored one if nothing comes."""
    form = "coalesce(excluded.{0}, t.{0})" if column.kept else "excluded.{0}"
    return _unless_erased(table, column, SQL(form).format(Identifier(column.name)))


def _remaining(table: Table, column: Column) -> Composable:
    """The new value of a column in a row whose payload was removed."""
    if column is RAW:
        return _incoming(table, column)
    form = "coalesce(excluded.{0}, t.{0})"
    if column.personal:  # no mask: asterisks, an e-mail without @, a phone without digits
        form = """coalesce(CASE WHEN excluded.{0} NOT LIKE '%%*%%' AND excluded.{0} ~ '[[:alnum:]]'
            AND (t.{0} LIKE '%%@%%' AND excluded.{0} NOT LIKE '%%@%%') IS NOT TRUE
            AND (t.{0} ~ '^[0-9 ()+./-]+$' AND excluded.{0} !~ '[0-9]') IS NOT TRUE
            THEN excluded.{0} END, t.{0})"""
    return _unless_erased(table, column, SQL(form).format(Identifier(column.name)))


def _unless_erased(table: Table, column: Column, value: Composable) -> Composable:
    """The value of a column as far as it may be stored in a row whose personal data may have been erased."""
    if column is RAW and table.personal:
        return SQL("CASE WHEN t.personal_erased_at IS NULL THEN {} ELSE {} END").format(
            value, _impersonal(table, value)
        )
    if column.personal:
        return SQL("CASE WHEN t.personal_erased_at IS NULL THEN {} END").format(value)
    return value


def _impersonal(table: Table, document: Composable) -> Composable:
    """A payload without personal data."""
    for path in table.personal:
        document = SQL("ebay_without({}, {})").format(document, Literal(list(path)))
    return document


def _steady(table: Table, document: Composable) -> Composable:
    """A payload as `merge.steady` leaves it, but with empty lists: a row is stored as eBay sends it."""
    for path in table.volatile:
        form = "ebay_without({}, {})" if "*" in path else "{} #- {}"
        document = SQL(form).format(document, Literal(list(path)))
    return SQL("jsonb_strip_nulls({})").format(document)


@_once
def real_key(table: Table) -> Composed:
    """Give the real key to rows that have the stand-in, unless there is a row with the real one. The lists %(keys…)s
    are the key with the stand-in, then the real value."""
    assert table.stand_in
    column = table.stand_in[0]
    return SQL(
        """
        WITH {asked} UPDATE {table} t SET {column} = asked.real_value
        FROM asked WHERE (t.ebay_account_id, {t_key}) = (asked.ebay_account_id, {asked_key})
            AND NOT EXISTS (SELECT FROM {table} o WHERE (o.ebay_account_id, {o_key}) = (asked.ebay_account_id, {real}))
        """
    ).format(
        asked=_asked((*table.key, "real_value")),
        table=Identifier(table.name),
        column=Identifier(column),
        t_key=_of("t", table.key),
        asked_key=_of("asked", table.key),
        o_key=_of("o", table.key),
        real=_of("asked", ["real_value" if name == column else name for name in table.key]),
    )


@_once
def removal(table: Table, names: tuple[str, ...]) -> Composed:
    """Mark rows whose columns `names` are among the lists %(keys…)s and whose key is not among the lists %(keep…)s.
    Rows are locked in the order of the key."""
    return SQL(
        """
        WITH {asked},
        gone AS MATERIALIZED (
            SELECT t.ebay_account_id, {t_key} FROM asked JOIN {table} t USING (ebay_account_id, {names})
            WHERE t.removed_at IS NULL AND ({t_key}) NOT IN (SELECT * FROM {keep})
            ORDER BY {t_key} FOR UPDATE OF t)
        UPDATE {table} t SET removed_at = clock_timestamp(), updated_at = clock_timestamp()
        FROM gone WHERE (t.ebay_account_id, {t_key}) = (gone.ebay_account_id, {gone_key})
        RETURNING ARRAY[{key_text}]
        """
    ).format(
        asked=_asked(names),
        table=Identifier(table.name),
        names=_each(names),
        keep=_rows_of("keep", len(table.key)),
        key_text=_each(table.key, "t.{}::text"),
        t_key=_of("t", table.key),
        gone_key=_of("gone", table.key),
    )


def analyze(tables: Sequence[Table]) -> Composed:
    """Analyze the columns by which our statements find rows. The others take most of the time, and autovacuum analyzes
    all soon: a part does not count for it."""
    return SQL("ANALYZE {}").format(
        _list(
            SQL("{} ({})").format(
                Identifier(table.name), _each(dict.fromkeys(["ebay_account_id", *table.key, *table.parent_key]))
            )
            for table in tables
        )
    )


# merge: rows are read


@_once
def looked_up(table: Table, columns: tuple[str, ...]) -> Composed:
    return _found(table, table.key, SQL("ARRAY[{}], {}").format(_of("t", table.key), _of("t", columns)))


@_once
def stored(table: Table) -> Composed:
    kept = [column.name for column in table.columns if column.kept]
    shown = SQL("{key}, CASE WHEN jsonb_typeof(raw_payload) = 'null' THEN '{{}}' ELSE raw_payload::text END, {kept}")
    return _found(
        table,
        table.key[:1],
        shown.format(
            key=Identifier(table.key[0]), kept=_each(kept, "{} IS NOT NULL", " OR ") if kept else SQL("false")
        ),
    )


@_once
def keys_of_parts(table: Table, column: str) -> Composed:
    return _found(table, (column,), _each(table.key, "t.{}::text"))


def _found(table: Table, names: Sequence[str], shown: Composable) -> Composed:
    """Show rows whose columns `names` are among the lists %(keys…)s."""
    return SQL("WITH {asked} SELECT {shown} FROM asked JOIN {table} t USING (ebay_account_id, {names})").format(
        asked=_asked(names), shown=shown, table=Identifier(table.name), names=_each(names)
    )


def _asked(names: Sequence[str]) -> Composed:
    """The lists %(keys…)s as rows of the account with these columns.

    The planner joins them to the key's index, row by row, in any table of more than some 2,000 rows. It assumes
    that a list from a subquery has 10 elements, however many there are. It does not know the account, which comes
    from a materialized CTE, so every other way means reading the whole table.
    """
    return SQL(
        "asked AS MATERIALIZED (SELECT %(account)s::uuid AS ebay_account_id, k.* FROM {rows} AS k ({names}))"
    ).format(rows=_rows_of("keys", len(names)), names=_each(names))


def _rows_of(name: str, count: int) -> Composed:
    """The lists that `merge.lists` makes, as a table."""
    return SQL("unnest({})").format(
        _list(SQL("(SELECT {}::text[])").format(Placeholder(f"{name}{index}")) for index in range(count))
    )


@_once
def unfinished(table: Table, column: str, final: tuple[str, ...], born: str) -> Composed:
    """The values stand in the statement, because only so it fits the condition of the index of such rows."""
    return SQL(
        "SELECT {key}, {born} FROM {table} WHERE ebay_account_id = %(account)s AND ({column} IN ({final})) IS NOT TRUE"
    ).format(
        key=Identifier(table.key[0]),
        born=Identifier(born),
        table=Identifier(table.name),
        column=Identifier(column),
        final=SQL(", ").join(map(Literal, final)),
    )


@_once
def present(table: Table, *, is_first: bool) -> Composed:
    key = _each(table.key)
    return SQL(
        "SELECT {texts} FROM {table} WHERE ebay_account_id = %s AND removed_at IS NULL {after}"
        " ORDER BY {key} LIMIT 5000"
    ).format(
        texts=_each(table.key, "{}::text"),
        table=Identifier(table.name),
        key=key,
        after=_NOTHING if is_first else SQL("AND ({}) > ({})").format(key, _list(Placeholder() * len(table.key))),
    )


# erase


def mentioning(table: Table, kept: Sequence[str], limit: int, *, is_first: bool) -> Composed:
    key = _each(table.key)
    return SQL(
        "SELECT ebay_account_id, raw_payload::text, {key} {kept} FROM {table} t"
        " WHERE t::text ILIKE ANY(%s) {after} ORDER BY ebay_account_id, {key} LIMIT {limit}"
    ).format(
        key=key,
        kept=_each(kept, ", {}", ""),
        table=Identifier(table.name),
        after=_NOTHING
        if is_first
        else SQL("AND (ebay_account_id, {}) > ({})").format(key, _list(Placeholder() * (len(table.key) + 1))),
        limit=Literal(limit),
    )


def rewrite(table: Table) -> Composed:
    names = [name for name in (*_names(table.columns), RAW.name) if name not in table.key]
    return SQL(
        "UPDATE {table} t SET {assignments} FROM json_to_recordset(%(rows)s::json) AS s ({record})"
        " WHERE t.ebay_account_id = %(account)s AND {same} AND ({mine}) IS DISTINCT FROM ({theirs})"
    ).format(
        table=Identifier(table.name),
        assignments=_each(names, "{0} = s.{0}"),
        record=_definitions((*table.columns, RAW)),
        same=_each(table.key, "t.{0} = s.{0}", " AND "),
        mine=_each(names, "t.{}"),
        theirs=_each(names, "s.{}"),
    )


def erase_emptied(table: Table, columns: Sequence[str], naming: Sequence[str]) -> Composed:
    return SQL(
        """
        WITH ours AS (
            SELECT lower(username) AS name FROM ebay_accounts UNION SELECT lower(ebay_user_id) FROM ebay_accounts)
        UPDATE {table} t SET {assigned} WHERE jsonb_typeof(t.raw_payload) = 'null' AND ({named})
        RETURNING t.ebay_account_id, concat_ws('/', {key})
        """
    ).format(
        table=Identifier(table.name),
        assigned=_each(
            columns,
            "{0} = CASE WHEN lower({0}) IN (SELECT name FROM ours) THEN {0} WHEN {0} IS NOT NULL THEN %(erased)s END",
        ),
        named=_each(naming, "lower({}) = ANY(%(names)s)", " OR "),
        key=_each(table.key),
    )


def erase_columns(table: Table, columns: Sequence[str], naming: Sequence[str], erased: str) -> Composed:
    return SQL("UPDATE {table} SET {set} WHERE raw_payload = 'null' AND ({named})").format(
        table=Identifier(table.name),
        set=_list(
            SQL("{0} = CASE WHEN {0} IS NOT NULL THEN {1} END").format(Identifier(name), Literal(erased))
            for name in columns
        ),
        named=_each(naming, "lower({}) = ANY(%(names)s)", " OR "),
    )


def occurring(table: str, columns: Sequence[str]) -> Composed:
    """Opens the cursor `occurring`. `payload`, the bytes of a quarantined record, stays bytes."""
    return SQL("DECLARE occurring NO SCROLL CURSOR FOR SELECT {} FROM {}").format(
        _list(SQL("{}" if name == "payload" else "{}::text").format(Identifier(name)) for name in columns),
        Identifier(table),
    )


def found_values(table: str, column: str) -> Composed:
    return SQL("SELECT ctid::text, {column}::text FROM {table} WHERE {column}::text ILIKE ANY(%s) FOR UPDATE").format(
        column=Identifier(column), table=Identifier(table)
    )


def replace(table: str, column: str, kind: str) -> Composed:
    return SQL("UPDATE {table} SET {column} = %s::{kind} WHERE ctid = %s::tid").format(
        column=Identifier(column), table=Identifier(table), kind=SQL("jsonb" if kind == "jsonb" else "text")
    )


# age


def payloads_older(table: Table, *, removed: bool, final: str | None, waits: bool) -> Composed:
    """A condition: %(days)s, a column that has one of %(final)s, and no detail due in the family %(waiting)s."""
    parts: list[Composable] = [
        SQL("t.updated_at < clock_timestamp() - make_interval(days => %(days)s)"),
        SQL("jsonb_typeof(t.raw_payload) <> 'null'"),
    ]
    if removed:
        parts.append(SQL("t.removed_at IS NOT NULL"))
    if final:
        parts.append(SQL("t.{} = ANY(%(final)s)").format(Identifier(final)))
    if waits:
        parts.append(
            SQL(
                "NOT EXISTS (SELECT FROM ebay_pending_detail p WHERE p.ebay_account_id = t.ebay_account_id"
                " AND p.api_family = %(waiting)s AND p.entity_key = t.{} AND p.next_at IS NOT NULL)"
            ).format(Identifier(table.key[0]))
        )
    return SQL(" AND ").join(parts)


def persons_older(table: Table, record: Table | None) -> Composed:
    """A condition: rows dated before %(days)s, or whose `record` was erased."""
    if record is None:
        assert table.dated_by
        due = SQL("coalesce(t.{}, t.first_seen_at) < clock_timestamp() - make_interval(days => %(days)s)").format(
            Identifier(table.dated_by)
        )
    else:
        due = SQL(
            "EXISTS (SELECT FROM {record} m WHERE m.ebay_account_id = t.ebay_account_id AND ({key}) = ({of})"
            " AND m.personal_erased_at IS NOT NULL)"
        ).format(record=Identifier(record.name), key=_of("m", record.key), of=_of("t", table.parent_key))
    return SQL("t.personal_erased_at IS NULL AND {}").format(due)


def count(table: Table, condition: Composed) -> Composed:
    return SQL("SELECT count(*) FROM {} t WHERE {}").format(Identifier(table.name), condition)


def empty_payloads(table: Table, condition: Composed) -> Composed:
    return SQL("UPDATE {table} t SET raw_payload = 'null' FROM ({rows}) old WHERE t.ctid = old.ctid").format(
        table=Identifier(table.name), rows=_in_blocks(table, condition)
    )


def erase_personal(table: Table, condition: Composed) -> Composed:
    personal = [column.name for column in table.columns if column.personal]
    return SQL(
        """
        WITH erased AS (
            UPDATE {table} t SET {assigned}
            FROM ({rows}) old WHERE t.ctid = old.ctid
            RETURNING t.ebay_account_id, concat_ws('/', {key}) AS entity_key),
        told AS (
            UPDATE ebay_events e SET changes = e.changes - %(names)s::text[]
            FROM erased WHERE e.entity_key = erased.entity_key AND e.ebay_account_id = erased.ebay_account_id
                AND e.table_name = %(table)s AND e.changes ?| %(names)s::text[])
        SELECT count(*) FROM erased
        """
    ).format(
        table=Identifier(table.name),
        rows=_in_blocks(table, condition),
        key=_of("t", table.key),
        assigned=_list(
            [
                *(SQL("{} = NULL").format(Identifier(name)) for name in personal),
                SQL("raw_payload = {}").format(_impersonal(table, SQL("t.raw_payload"))),
                SQL("personal_erased_at = clock_timestamp()"),
            ]
        ),
    )


def _in_blocks(table: Table, condition: Composed) -> Composed:
    """Select rows by their place on disk. Old rows then need no index of their own, which every write would have to
    maintain."""
    return SQL(
        "SELECT t.ctid FROM {} t WHERE t.ctid >= %(start)s::tid AND t.ctid < %(end)s::tid AND {} FOR UPDATE SKIP LOCKED"
    ).format(Identifier(table.name), condition)


def count_of_account(table: str) -> Composed:
    return SQL("SELECT count(*) FROM {} WHERE ebay_account_id = %(account)s").format(Identifier(table))


def delete_of_account(table: str) -> Composed:
    return SQL(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY("
        "SELECT ctid FROM {table} WHERE ebay_account_id = %(account)s LIMIT %(limit)s))"
    ).format(table=Identifier(table))


# parts of statements


def _names(columns: Iterable[Column]) -> list[str]:
    return [column.name for column in columns]


def _list(parts: Iterable[Composable]) -> Composed:
    return SQL(", ").join(parts)


def _each(names: Iterable[str], form: str = "{}", separator: str = ", ") -> Composed:
    """Each name in this form."""
    return SQL(separator).join(SQL(form).format(Identifier(name)) for name in names)


def _of(alias: str, names: Iterable[str]) -> Composed:
    return _list(Identifier(alias, name) for name in names)


def _definitions(columns: Iterable[Column]) -> Composed:
    """The column definition list for json_to_recordset."""
    return _list(SQL("{} {}").format(Identifier(each.name), SQL(each.type)) for each in columns)
