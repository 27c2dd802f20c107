"""Erases a person from everything that is stored, as eBay's account deletion requires.

    note     store digests of the person's names, so that no later read stores the person again
    records  that mention the person: clean them (families/personal_data) and write them back with their typed columns
    others   events, logs, errors: erase the name in their texts; delete quarantined records with it
    repeat   while a run goes on that began before the note, because it may still store the person

It writes no event and logs no name. It can be repeated.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

import msgspec

from ebaysync.errors import UsageError
from ebaysync.families import discover
from ebaysync.families.decoder import Unusable
from ebaysync.families.family import Family, Rows
from ebaysync.families.personal_data import (
    ERASED,
    LONGEST,
    SHORTEST,
    erase,
    is_party,
    is_place,
    mentioned,
    pattern,
    words,
)
from ebaysync.shown import account_word
from ebaysync.store import erase as stored
from ebaysync.store.connection import Connection
from ebaysync.store.database import Database
from ebaysync.store.erase import Mention
from ebaysync.sync import erased_people

log = logging.getLogger(__name__)

FEW = 8  # with more names, one pass over everything first finds those that occur at all
WAITS = 240  # of two seconds each, for runs that began before


async def forget(
    db: Database, names: Collection[str], sleep: Callable[[float], Awaitable[None]], reason: str | None = None
) -> dict[str, int]:
    """Erase everybody with one of these user names or ids; return the number of changed rows by table.

    Raises UsageError as `checked` does, and if the reason holds a name.
    """
    names = sorted(await checked(db, names))
    if reason and pattern(names).search(reason):
        raise UsageError("--reason holds the name that is to be erased", hint="say it without the name")
    # First the note, so that runs which begin from now on do not store the person again.
    began = await erased_people.note(db, names, reason)
    found: Counter[str] = Counter()
    for _ in range(WAITS):
        # Asked before the pass: a run that ends during it may have stored the person behind it, so another pass
        # follows.
        busy = bool(await db.rows(_BUSY, began=began))
        found.update(await _once(db, names))
        if not busy:
            return {table: count for table, count in sorted(found.items()) if count}
        log.info("a run that had begun before is still at work; looking once more when it has ended")
        await sleep(2.0)
    log.warning("runs that had begun before are still at work: repeat this when they have ended")
    return {table: count for table, count in sorted(found.items()) if count}


async def checked(db: Database, names: Collection[str]) -> set[str]:
    """The names in lower case. Raises UsageError if one is not an eBay name, or belongs to a seller of ours."""
    found = {_usable(name) for name in names}
    await _refuse_sellers(db, found)
    return found


_BUSY = """
SELECT FROM ebay_worker_run r JOIN ebay_lease l ON l.run_id = r.id
WHERE r.status = 'running' AND r.started_at <= :began AND l.lease_until > clock_timestamp()
"""


def usable(names: Collection[str]) -> list[str]:
    """Those of a person's names that can be searched, or all if none can. eBay's oldest user names have other signs;
    the id beside them is enough."""
    return [name for name in names if _is_name(name.strip())] or list(names)


def _is_name(text: str) -> bool:
    return words(text.encode()) == {text.lower()}


def _usable(name: str) -> str:
    name = name.strip()
    if not _is_name(name):
        raise UsageError(
            "this is no eBay user name or id",
            hint=f"it has {SHORTEST} to {LONGEST} letters, digits and the signs . _ - *",
        )
    return name.lower()


async def _refuse_sellers(db: Database, names: Collection[str]) -> None:
    rows = await db.rows(
        "SELECT id, name FROM ebay_accounts WHERE lower(username) = ANY(:names) OR lower(ebay_user_id) = ANY(:names)",
        names=list(names),
    )
    if rows:
        raise UsageError(
            f"this is the seller of the account {rows[0].name}, not a person in its data",
            hint=f"ebaysync accounts remove {account_word(rows[0].name, rows[0].id)}",
        )


async def _once(db: Database, names: Collection[str]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    if len(names) > FEW:
        names = await stored.occurring(db, lambda value, json: mentioned(value, names, json=json))
        if not names:
            return found
    private = {(row.table_name, row.column_name) for row in await db.rows(_PRIVATE)}
    for family in discover().values():
        async for batch in stored.mentioning(db, family.table, names):
            for mention in batch:
                found.update(await _clean(db, family, mention, names, private))
        found.update(await _clean_emptied(db, family, names, private))
        for each in family.tables:
            columns = sorted(column for name, column in private if name == each.name)
            naming = [column for column in columns if is_place(column)]
            found[each.name] += await stored.erase_columns(db, each, columns, naming, names, ERASED)
    named = pattern(names)
    records = {table.name for family in discover().values() for table in family.tables}
    for table, column, kind in await stored.columns_of_text(db):
        can_name = (table, column) in private and is_place(column) if table in records else _FREE_TEXT.search(column)
        if kind != "jsonb" and not can_name:
            continue

        def changed(value: str, kind: str = kind) -> str:
            return erase(value.encode(), names).decode() if kind == "jsonb" else named.sub(ERASED, value)

        found[table] += await stored.replace(db, table, column, kind, names, changed)
    found["ebay_quarantine"] += await stored.drop_quarantined(db, lambda payload: erase(payload, names) != payload)
    return found


# The text columns of control tables in which a sentence stands, not a word of a list.
_FREE_TEXT = re.compile(r"(?:error|message|reason)$")


_PRIVATE = "SELECT table_name, column_name FROM ebay_private_columns"


async def _clean(
    db: Database,
    family: Family,
    mention: Mention,
    names: Collection[str],
    private: Collection[tuple[str, str]],
) -> Mapping[str, int]:
    """Write a record back without the person, and clean its events."""
    account_id, raw, kept = mention.account_id, mention.raw, mention.kept
    named, cleaned = pattern(names), erase(raw, names)
    kept = {column: value for column, value in kept.items() if (family.table.name, column) in private}
    if cleaned == raw and not any(isinstance(value, str) and named.search(value) for value in kept.values()):
        return {}  # the name is part of another word, or stands where no person can
    party = is_party(raw, names)
    try:
        rows = family.renamed(family.rows(cleaned), mention.key)  # a twin's key is not in its payload
    except Unusable:  # it can no longer be decoded; the search for the name in all texts still finds it
        return {}
    record = dict(rows[family.table.name][0])
    for column, value in kept.items():
        if record[column] is None and isinstance(value, str):
            record[column] = ERASED if party else named.sub(ERASED, value)
    whole: Rows = {**rows, family.table.name: [record]}

    async def work(connection: Connection) -> dict[str, int]:
        counts = {}
        for table in family.tables:
            counts[table.name] = await stored.rewrite(connection, table, account_id, whole[table.name])
            if party:
                for row in whole[table.name]:
                    columns = [column for name, column in private if name == table.name]
                    counts["ebay_events"] = counts.get("ebay_events", 0) + await _clean_events(
                        connection, account_id, table.name, "/".join(table.text_key(row)), columns
                    )
        return counts

    return await db.transact(work)


async def _clean_emptied(
    db: Database, family: Family, names: Collection[str], private: Collection[tuple[str, str]]
) -> Mapping[str, int]:
    """Clean records whose payload was pruned. Only their columns show who the person is."""
    name = family.table.name
    columns = [column for table, column in private if table == name]
    naming = [column for column in columns if is_place(column)]
    if not naming:
        return {}
    rows = await stored.erase_emptied(db, family.table, names, columns, naming, ERASED)
    events = 0
    for account_id, key in rows:
        events += await db.transact(lambda c, a=account_id, k=key: _clean_events(c, a, name, k, columns))  # type: ignore[misc]
    return {name: len(rows), "ebay_events": events}


async def _clean_events(
    connection: Connection, account_id: UUID, table: str, key: str, columns: Collection[str]
) -> int:
    """Erase the values of personal columns from a record's events.

    A field without a column has eBay's own name; its value is erased as a whole.
    """
    rows = await connection.execute(_EVENTS, {"account": account_id, "table": table, "key": key})
    count = 0
    for row in rows:
        cleaned = {
            # Our columns are in lower case, eBay's names are not.
            field: [ERASED, ERASED] if field in columns or not field.islower() else values
            for field, values in row.changes.items()
        }
        if cleaned != row.changes:
            values = {"id": row.id, "changes": msgspec.json.encode(cleaned).decode()}
            await connection.execute("UPDATE ebay_events SET changes = CAST(:changes AS jsonb) WHERE id = :id", values)
            count += 1
    return count


_EVENTS = """
SELECT id, changes FROM ebay_events
WHERE ebay_account_id = :account AND table_name = :table AND entity_key = :key AND changes <> '{}'
"""
