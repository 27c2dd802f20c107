"""A database that somebody has filled with text which a terminal would obey: no command passes it on."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from ebaysync.cli.app import COMMANDS
from ebaysync.cli.simulator import make_world
from ebaysync.shown import escaped
from ebaysync.sim import control
from ebaysync.sim.server import Simulator

POISON = "x\x1b[31mred\x1b[0m\r\nnext: rm\u202egpj\u2028<3>\x9b2J\x07[bold]y[/bold]"
SHOWN = "\\x1b[31mred\\x1b[0m\\r\\nnext: rm\\u202egpj"

Program = Callable[..., Any]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(make_world(3, 1, 5, 0)) as found:
        yield found


@pytest.fixture
def account_id(program: Any, sim: Simulator, database_url: str) -> str:
    """An account with a run, an event and errors; each text in the control tables that others could write is poison."""
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    token = f"{control.sellers(sim.world)[0]['refreshToken']}\n"
    assert (
        program("accounts", "add", "alice", "--environment", "simulator", "--refresh-token-stdin", given=token).code
        == 0
    )
    assert program("run", "orders", "--account", "alice").code == 0
    error = json.dumps({"code": "ebay", "message": POISON, "hint": POISON})
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement, values in (
            ("UPDATE ebay_accounts SET name = %s, username = %s, marketplace_id = %s", [POISON] * 3),
            ("UPDATE ebay_sync_state SET last_error = %s, last_status = 'error'", [POISON]),
            ("UPDATE ebay_token_refresh_log SET success = false, error_code = %s, error_message = %s", [POISON] * 2),
            (
                "UPDATE ebay_worker_run SET status = 'error', "
                "summary_json = jsonb_set(summary_json, '{error}', %s::jsonb)",
                [error],
            ),
            ("UPDATE ebay_api_worker_log SET details = jsonb_set(details, '{error}', %s::jsonb)", [error]),
            ("UPDATE ebay_api_worker_log SET kind = 'error' WHERE kind = 'done'", []),
            (
                "INSERT INTO ebay_events"
                " (ebay_account_id, api_family, table_name, entity_key, event, changes, observed_at)"
                " SELECT id, 'orders', %s, %s, 'changed', jsonb_build_object(%s::text, jsonb_build_array(%s::text, 1)),"
                " clock_timestamp() FROM ebay_accounts",
                [POISON] * 4,
            ),
            (
                "INSERT INTO ebay_field_notes (ebay_account_id, api_family, field, reason, count, first_at, last_at)"
                " SELECT id, 'orders', %s, %s, 1, now(), now() FROM ebay_accounts",
                [POISON] * 2,
            ),
            (
                "INSERT INTO ebay_signing_keys"
                " (environment, client_id, signing_key_id, cipher, jwe, public_key, private_key, created_at,"
                " expires_at) VALUES ('simulator', 'simulator', %s, %s, %s, %s, 'x', now(), now())",
                [POISON] * 4,
            ),
            ("UPDATE ebay_authorizations SET missing_scopes = ARRAY[%s]", [POISON]),
        ):
            connection.execute(statement, values)  # type: ignore[arg-type]
        assert program("pause", "--reason", "for a test").code == 0
        connection.execute("UPDATE ebay_worker_global_config SET reason = %s, changed_by = %s", [POISON] * 2)
        connection.execute("UPDATE ebay_control_log SET reason = %s, changed_by = %s", [POISON] * 2)
        return str(connection.execute("SELECT id FROM ebay_accounts").fetchone()[0])  # type: ignore[index]


def clean(said: str) -> bool:
    return said.replace("\n", "").isprintable()


def test_no_command_passes_on_what_a_terminal_would_obey(program: Any, account_id: str, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        [run_id] = connection.execute("SELECT id FROM ebay_worker_run").fetchone()  # type: ignore[misc]
    shown = [
        ("accounts", "list"),
        ("accounts", "show", account_id),
        ("accounts", "disable", account_id),
        ("accounts", "enable", account_id),
        ("status",),
        ("status", "--account", account_id),
        ("runs",),
        ("logs", str(run_id)),
        ("events",),
        ("schedule",),
        ("schedule", "--accounts", "20"),
        ("families",),
        ("keys", "signing", "list"),
        ("keys", "rotate"),
        ("prune",),
        ("migrate",),
        ("forget", "--list"),
        ("pause", "--reason", "a test"),
        ("families", "--account", account_id),
        ("families", "disable", "buyer", "--account", account_id),
        ("families", "every", "orders", "9", "--account", account_id),
        ("doctor",),
        ("refresh-tokens", "--force"),
        ("run", "orders", "--account", account_id),
        ("run", "orders", "--account", POISON),
        ("run-all", "--now"),
        ("backfill", "--days", "1"),
        ("resume",),
        ("run-all", "--now", "--family", "orders"),
        ("run", "orders", "--account", account_id),
        ("accounts", "show", "no such account"),
        ("accounts", "remove", account_id, "--yes"),
    ]
    without_database = {"demo", "simulator"}
    assert {command for command, *_ in shown} == COMMANDS.keys() - without_database
    with_poison = 0
    for command in shown:
        ended = program(*command)
        assert ended.code in (0, 2, 3, 12, 13), (command, ended.err)
        assert clean(ended.out), (command, ended.out)
        assert clean(ended.err), (command, ended.err)
        with_poison += SHOWN in ended.out + ended.err
    assert with_poison > 15, "the names were there to be seen"


def test_json_is_exact_and_just_as_harmless(program: Any, account_id: str) -> None:
    for command in (("accounts", "list"), ("accounts", "show", account_id), ("status",), ("runs",), ("events",)):
        ended = program(*command, "--json")
        assert ended.code == 0, ended.err
        assert clean(ended.out), command
        assert POISON in strings(json.loads(ended.out)), command
        assert escaped(POISON) not in ended.out


def strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {each for item in value.items() for part in item for each in strings(part)}
    if isinstance(value, list):
        return {each for part in value for each in strings(part)}
    return {value} if isinstance(value, str) else set()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("USERNAME_OR_ID", ("forget", b"\xff")),
        ("--key", ("events", "--key", b"\xff")),
        (
            "--scopes",
            ("accounts", "add", "x", "--environment", "simulator", "--refresh-token-stdin", "--scopes", b"a\xff"),
        ),
        ("NAME", ("accounts", "connect", b"a\xe4", "--environment", "simulator")),
        ("--account", ("run", "orders", "--account", b"\xff")),
        ("--account", ("run-all", "--account", "a", "--account", b"\xff")),
        ("FAMILY", ("run", b"\xff", "--account", "a")),
        ("--reason", ("pause", "--reason", b"\xff")),
    ],
)
def test_an_argument_that_is_no_text_is_a_usage_error(program: Any, complains: Any, name: str, arguments: Any) -> None:
    ended = program(*(each.decode(errors="surrogateescape") if isinstance(each, bytes) else each for each in arguments))
    complains(ended, 2, f"{name}: '", "is not UTF-8 text", "\\x")
    assert "bug" not in ended.err


def test_a_name_with_signs_of_the_shell_is_quoted_in_each_command_to_copy(program: Any, sim: Simulator) -> None:
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    token = f"{control.sellers(sim.world)[0]['refreshToken']}\n"
    name = "al;touch /tmp/x"
    added = program("accounts", "add", name, "--environment", "simulator", "--refresh-token-stdin", given=token)
    assert "next: ebaysync run orders --account 'al;touch /tmp/x'" in added.out
    again = program("accounts", "add", "other", "--environment", "simulator", "--refresh-token-stdin", given=token)
    assert "ebaysync accounts add 'al;touch /tmp/x' --environment simulator --refresh-token-stdin" in again.err


def test_a_caller_whose_name_is_no_text_may_still_change_settings(program: Any, query: Any) -> None:
    odd = b"a\xff\x1b".decode(errors="surrogateescape")
    assert program("pause", "--reason", "a test", environ={"SUDO_USER": odd}).code == 0
    assert query("SELECT changed_by LIKE %s FROM ebay_worker_global_config", "a\\\\xff\\\\x1b@%") == [(True,)]


def test_an_account_whose_name_nobody_can_type_is_removed_with_its_id(
    program: Any, account_id: str, query: Any
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        program.command("accounts", "remove", account_id),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=program.environ,
    ) as process:
        os.write(ours, f"{account_id}\n".encode())
        assert process.wait(60) == 0
    os.close(ours)
    os.close(theirs)
    assert query("SELECT count(*) FROM ebay_accounts") == [(0,)]


@pytest.mark.parametrize("name", [POISON, "-v", "al\u00adice", "a\u200db"])
def test_a_name_that_cannot_be_copied_gives_way_to_the_id_in_each_command(
    program: Any, account_id: str, database_url: str, name: str
) -> None:
    def change(text: str, *values: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(text, values)  # type: ignore[arg-type]

    assert program("resume").code == 0
    change("UPDATE ebay_accounts SET name = %s, username = 'some_seller'", name)
    change("UPDATE ebay_tokens SET refresh_expires_at = now() + interval '1 day'")
    said = program("forget", "some_seller").err
    for command in (("status",), ("doctor", "--offline"), ("run-all",), ("refresh-tokens",)):
        ended = program(*command)
        said += ended.out + ended.err
    change("UPDATE ebay_accounts SET marketplace_id = 'EBAY_GB', needs_consent = true")
    for command in (("status",), ("run", "orders", "--account", account_id), ("refresh-tokens", "--force")):
        ended = program(*command)
        said += ended.out + ended.err
    change("UPDATE ebay_accounts SET is_active = false, needs_consent = false")
    change("UPDATE ebay_tokens SET refresh_token = set_byte(refresh_token, 40, 1), access_token = NULL")
    ended = program("doctor", "--offline")
    said += ended.out + program("refresh-tokens", "--force", "--account", account_id).err
    commands = re.findall(r"ebaysync (accounts (?:connect|enable|remove)|run-all[a-z -]* --account) ([^;\n]+)", said)
    assert {verb for verb, _ in commands} >= {"accounts connect", "accounts enable", "accounts remove"}
    assert {shlex.split(rest)[0] for _, rest in commands} == {account_id}
