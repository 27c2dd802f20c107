"""Writes the pages of docs/reference, and the table in docs/quotas.md, from the code.

`make docs-reference` runs it; a test compares the result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from typer.main import get_command

from ebaysync import errors
from ebaysync.cli.app import app
from ebaysync.ebay.limits import Usage, quotas
from ebaysync.errors import EbaysyncError
from ebaysync.families import discover
from ebaysync.families.family import Family
from ebaysync.settings import Settings

VIEWS = {
    "ebay_order_profit": "one row per order and currency: sales, refunds, labels, charges, eBay's fees, what is left",
    "ebay_inventory_overview": "one row per SKU: its item, and its offers added up",
    "ebay_problem_orders": "one row per case, inquiry, return and dispute, with its order and whether it is open",
    "ebay_payout_check": "one row per payout: how many of its transactions are stored",
    "ebay_history": "one row per first sight, change, removal and return of a record",
}
CONTROL_TABLES = {
    "ebay_accounts": "sellers' accounts: name, environment, eBay user id, whether a consent is needed",
    "ebay_tokens": "an account's refresh and access token, encrypted; their keyset, end and next try",
    "ebay_authorizations": "the scopes that a seller has consented to",
    "ebay_token_refresh_log": "each refresh of a token: when, why, eBay's error",
    "ebay_pending_consents": "consents whose seller is not known yet",
    "ebay_keysets": "keysets: the application token, encrypted, and the quotas that eBay reported",
    "ebay_signing_keys": "keys that sign calls for EU and UK sellers, encrypted",
    "ebay_sync_state": "per account and family: cursor, sweep, last run, last error, since when refused, next try",
    "ebay_backfill": "per account and family: span and position of the newest backfill",
    "ebay_doubted_scan": "per account and family: scans that are not believed at once, and what they missed",
    "ebay_inconsistent_read": "slices of which records may be missing: why, how often asked for, next try",
    "ebay_pending_detail": "details that are due: attempts, reason, next try",
    "ebay_lease": "which process runs an account's family now",
    "ebay_worker_run": "one row per run and family: status, trigger, times, summary",
    "ebay_api_worker_log": "what a run did: its pages, errors and end",
    "ebay_worker_global_config": "whether the workers are paused, and the defaults of families",
    "ebay_control_log": "who paused, resumed, enabled or disabled what, and when",
    "ebay_api_usage": "per keyset, API and quota day: calls, quota, cool-down",
    "ebay_events": "changed, removed and returned records: old and new values",
    "ebay_quarantine": "records that could not be stored, as eBay sent them, each with its reason",
    "ebay_field_notes": "how many records have a column that is impossible, or a part that was left out",
    "ebay_private_columns": "columns and tables that the role ebaysync_reader may not read",
    "ebay_forgotten": "people who were erased, as salted digests",
    "ebay_forgotten_salt": "the salt of these digests",
    "ebaysync_schema": "the SQL files that were applied, with their digests",
}
# The calls of a run by source, where the declaration of a family does not tell them.
CALLS = {
    "orders": "1, and 1 per order whose cancellation is in progress",
    "messages": "1 if the counts of the folders are as before; else 1 for all folders or 1 per folder, too; "
    "the same for the sweep; 1 per ten new bodies",
    "inventory": "1 per 200 items, and (offers) 1 per SKU; of more than 2,000 SKUs, 1 per SKU whose item has changed",
    "active_inventory": "1 per 200 listings",
    "buyer": "1 per 200 purchases",
}
HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py. To change it, change the code and run: make docs-reference -->\n\n"


def pages() -> dict[str, str]:
    """Each generated page by its name."""
    return {
        "commands": commands(),
        "settings": settings(),
        "families": families(),
        "tables": tables(),
        "exit-codes": exit_codes(),
    }


def commands() -> str:
    os.environ["COLUMNS"] = "88"
    parts = [
        "# Commands\n\n"
        "Answers go to standard output, everything else to standard error. `--json` prints one JSON object. `-v` and\n"
        "`-q` may stand before or after a command. Exit codes: {doc}`exit-codes`.\n"
    ]
    for path, command in _commands(get_command(app), ("ebaysync",)):
        depth = "#" * min(len(path), 3)
        name = " ".join(path)
        with command.make_context(name, [], resilient_parsing=True, terminal_width=88, max_content_width=88) as context:
            context.info_name = name
            text = command.get_help(context)
        parts.append(f"{depth if len(path) > 1 else '##'} {name}\n\n```text\n{_plain(text)}\n```\n")
    return NOTE + "\n".join(parts)


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    if hasattr(command, "list_commands"):
        context = command.make_context(path[-1], [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from _commands(command.get_command(context, name), (*path, name))


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def settings() -> str:
    rows = []
    for field in fields(Settings):
        shown = field.default
        default = "–" if field.metadata["secret"] or not isinstance(shown, str | int) else f"`{shown}`"
        if field.name == "home":
            default = "the user's data dir; `/var/lib/ebaysync` for root"
        rows.append((f"`{field.metadata['name']}`", default, field.metadata["help"]))
    head = (
        "# Settings\n\n"
        "A setting comes from the environment, else from the file that `EBAYSYNC_ENV_FILE` names (or `.env` in the\n"
        "working directory), else it has its default. A file with secrets that others can read is refused.\n\n"
    )
    return NOTE + head + _table(("variable", "default", "meaning"), *rows)


def families() -> str:
    rows = []
    for family in discover().values():
        scopes = ", ".join(f"`{scope.rpartition('/')[2]}`" for scope in family.scopes)
        names = " · ".join(f"`{t.name}` ({', '.join(t.key)})" for t in family.tables)
        what = f"{family.about} ({family.calls})"
        rows.append((f"`{family.name}`", what, _read(family), f"{family.every_minutes} min", scopes or "any", names))
    head = (
        "# Families\n\n"
        "*Read* says how: a `window` in time, all there is (a snapshot), or all that eBay still shows; how far the\n"
        "first run goes back; the overlap of two windows; the horizon of the sweep. {doc}`../correctness` explains\n"
        "them. A key follows the account's id.\n\n"
    )
    columns = ("family", "what (eBay's calls)", "read", "every", "scope", "tables (key)")
    return NOTE + head + _table(columns, *rows)


def _read(family: Family) -> str:
    said = [{"window": "window", "snapshot": "all there is", "rolling": "all that eBay shows"}[family.cursor_type]]
    reach = family.window.first_reach or (timedelta(days=90) if family.cursor_type == "window" else None)
    if reach:
        said.append(f"first {reach.days} d")
    if family.window.overlap:
        said.append(f"overlap {family.window.overlap // timedelta(hours=1)} h")
    if family.window.sweep:
        said.append(f"sweep {family.window.sweep.days} d within {family.window.seen_within // timedelta(hours=1)} h")
    if family.detail and family.detail.open_column:
        said.append("open ones again")
    return ", ".join(said)


def quotas_page() -> str:
    """docs/quotas.md, with the table of what a run costs."""
    before, begin, rest = (HERE / "quotas.md").read_text().partition("<!-- Written by docs/generate.py. -->\n")
    _, end, after = rest.partition("<!-- End. -->\n")
    assert begin and end, "the marks around the table"  # noqa: PT018
    return f"{before}{begin}\n{_costs()}\n{end}{after}"


def _costs() -> str:
    by_source: dict[str, list[Family]] = {}
    for family in discover().values():
        by_source.setdefault(family.source, []).append(family)
    rows = []
    for source, found in by_source.items():
        names = ", ".join(family.name for family in found)
        apis = dict.fromkeys(Usage().bucket(api) for family in found for api in family.costs)
        daily = {api: quotas()[api].daily for api in apis}
        limits = ", ".join(f"`{api}` {f'{calls:,}' if calls else 'unknown'}" for api, calls in daily.items())
        rows.append((names, CALLS.get(source) or _calls(found[0]), limits))
    return _table(("families", "calls", "API, and its calls a day"), *rows)


def _calls(family: Family) -> str:
    if family.detail and family.detail.open_column:
        return "1, and up to 1 for open records that are older than 90 days"
    return "1"


def tables() -> str:
    head = (
        "# Tables\n\n"
        "Every table also has `ebay_account_id`, `raw_payload` (the record as eBay sent it, as JSON), `first_seen_at`\n"
        "and `updated_at`, which moves only when the content changed. Tables of snapshots and of parts have\n"
        "`removed_at`. Columns are eBay's field names in snake_case; an amount has its currency in `NAME_currency`.\n"
        "Comments in the database say more: `\\d+ ebay_orders` in psql. Views have the account's name in `account`.\n\n"
        "*reader* says whether the role `ebaysync_reader` may read a column. It reads no `raw_payload`, and of the\n"
        f"tables and views without such a column all but {_hidden()}.\n"
        "`SELECT *` works for it on the view that has only the columns it may read: `ebay_orders_shared` for\n"
        "`ebay_orders`, and so on for each table and view with hidden columns. `migrate --grants` makes them.\n"
    )
    views = _table(("view", "rows"), *((f"`{name}`", meaning) for name, meaning in VIEWS.items()))
    control = _table(("table", "rows"), *((f"`{name}`", meaning) for name, meaning in CONTROL_TABLES.items()))
    parts = [NOTE + head, f"## Views\n\n{views}", f"## Control tables\n\n{control}"]
    for family in discover().values():
        for table in family.tables:
            columns = _table(
                ("column", "type", "eBay's field", "reader"),
                *((f"`{c.name}`", c.type, _field(c), "no" if c.private else "yes") for c in table.columns),
            )
            parts.append(
                f"## {table.name}\n\nFamily `{family.name}`, key {', '.join(f'`{k}`' for k in table.key)}.\n\n{columns}"
            )
    return "\n".join(parts)


def _hidden() -> str:
    """The columns of control tables and views that the reader may not read, from the files that list them."""
    listed = "".join(
        file.read_text().partition("INSERT INTO ebay_private_columns")[2].partition(";")[0]
        for file in sorted((HERE.parent / "sql").glob("0*.sql"))
    )
    pairs = re.findall(r"\('(\w+)', '(\w+|\*)'\)", listed)
    return ", ".join(f"`{table}.{column}`" for table, column in pairs if table in CONTROL_TABLES | VIEWS)


def _field(column: Any) -> str:
    return " or ".join(f"`{path}`" for path in column.path.split("|")) if column.path else "–"


def exit_codes() -> str:
    found: dict[int, list[str]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, EbaysyncError) and kind is not errors.Interrupted:
            found.setdefault(kind.exit_code, []).append(f"`{kind.code}`")
    meaning = {
        0: "done; also: nothing due, paused, disabled, cooling down because a quota is spent, held by another run (in"
        " `run-all`), records in quarantine",
        1: "a bug",
        2: "wrong usage or settings, a keyset that eBay does not accept, a key that does not fit the stored secrets",
        3: "`run-all`, `backfill`, `refresh-tokens`, `doctor`: at least one account or family failed; "
        "the rest is stored",
        10: "database unreachable, too old or not migrated",
        11: "`run`: another run holds this account and family",
        12: "the seller must consent again, or has not consented to this family's scope",
        13: "eBay refused or failed",
    }
    words = {code: ", ".join(dict.fromkeys(kinds)) for code, kinds in found.items() if code in meaning}
    rows = [(str(code), text, words.get(code, "–")) for code, text in meaning.items()]
    rows.append(("130, 143", "interrupted by SIGINT, SIGTERM, after the current slice", "`interrupted`"))
    return NOTE + "# Exit codes\n\n" + _table(("code", "meaning", "`error.code` in `--json`"), *rows)


def _table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *body))


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / "reference" / f"{name}.md").write_text(text)
    (HERE / "quotas.md").write_text(quotas_page())
