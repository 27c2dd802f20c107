"""Settings, secrets, the vault: what is refused, and what never shows."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
import json
import logging
import os
from dataclasses import fields
from pathlib import Path
from uuid import uuid4

import pytest

from ebaysync import log as logs
from ebaysync.accounts import vault
from ebaysync.errors import ConfigError, EbaysyncError, SecretKeyError
from ebaysync.log import Secret, redact
from ebaysync.settings import Settings, load

KEY = "k" * 32
ACCOUNT = uuid4()


def sealed_with(key: str) -> tuple[vault.Vault, bytes]:
    box = vault.load(Settings(secret_key=Secret(key)), may_create=False)
    return box, box.seal(Secret("the token"), "production", ACCOUNT, "refresh_token")


def test_what_is_sealed_opens_in_its_own_place_alone() -> None:
    box, blob = sealed_with(KEY)
    assert b"the token" not in blob
    assert box.open(blob, "production", ACCOUNT, "refresh_token").reveal() == "the token"
    for place in (
        ("sandbox", ACCOUNT, "refresh_token"),
        ("production", uuid4(), "refresh_token"),
        ("production", ACCOUNT, "access_token"),
    ):
        with pytest.raises(SecretKeyError, match="damaged, or was copied"):
            box.open(blob, *place)


@pytest.mark.parametrize("index", [0, 1, 4, 5, 16, 17, -1])
def test_a_blob_that_was_tampered_with_does_not_open(index: int) -> None:
    box, blob = sealed_with(KEY)
    changed = bytearray(blob)
    changed[index] ^= 1
    with pytest.raises(SecretKeyError):
        box.open(bytes(changed), "production", ACCOUNT, "refresh_token")


def test_the_first_key_seals_and_every_key_opens() -> None:
    _, old = sealed_with(KEY)
    both, new = sealed_with(f"{'n' * 32},{KEY}")
    assert both.open(old, "production", ACCOUNT, "refresh_token").reveal() == "the token"
    with pytest.raises(SecretKeyError, match="a key that is not in EBAYSYNC_SECRET_KEY"):
        sealed_with(KEY)[0].open(new, "production", ACCOUNT, "refresh_token")


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    vault.load(settings, may_create=True)
    path = tmp_path / "home" / "secret.key"
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    vault.load(settings, may_create=True)
    assert path.read_text() == text
    assert sorted(child.name for child in path.parent.iterdir()) == ["secret.key"]


def test_a_lost_key_file_is_told_and_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(SecretKeyError, match="does not exist"):
        vault.load(Settings(home=tmp_path), may_create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o644, 0o604, *([] if os.geteuid() == 0 else [0o640])])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "secret.key").write_text(KEY)
    (tmp_path / "secret.key").chmod(mode)
    with pytest.raises(ConfigError, match="others can read it"):
        vault.load(Settings(home=tmp_path), may_create=True)


def test_a_credential_as_systemd_lays_it_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ebaysync.key").write_text(KEY)
    (tmp_path / "ebaysync.key").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    vault.load(Settings(secret_key_file=Path("ebaysync.key")), may_create=False)


def test_a_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(SecretKeyError, match="at least 16"):
        vault.load(Settings(secret_key=Secret("short")), may_create=False)


ROOT = os.geteuid() == 0
NAMED = {"EBAYSYNC_ENV_FILE": ".env"}  # root does not read the working directory's by itself


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(folder: Path) -> None:
    write(folder / ".env", "EBAYSYNC_JOBS=7\nEBAYSYNC_OVERLAP_MINUTES=8\n")
    found = load({"EBAYSYNC_JOBS": "9"} | NAMED)
    assert (found.jobs, found.overlap_minutes, found.settle_seconds) == (9, 8, 120)


def test_an_empty_variable_undoes_the_file(folder: Path) -> None:
    write(folder / ".env", "EBAYSYNC_DATABASE_URL=postgresql://elsewhere/db\n")
    assert load({"EBAYSYNC_DATABASE_URL": ""} | NAMED).database_url is None


def test_tokens_in_the_file_keep_their_odd_characters(folder: Path) -> None:
    write(folder / ".env", "EBAY_CLIENT_SECRET='PRD-a#b^c=d$HOME'\n")
    secret = load({"HOME": "/root"} | NAMED).client_secret
    assert secret
    assert secret.reveal() == "PRD-a#b^c=d$HOME"


@pytest.mark.parametrize("mode", [0o644, 0o604, *([] if ROOT else [0o640])])
def test_a_file_with_secrets_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    write(folder / ".env", "EBAY_CLIENT_SECRET=x1234567\n", mode)
    with pytest.raises(ConfigError, match="others can read it") as caught:
        load(NAMED)
    assert "chmod" in str(caught.value.hint)
    write(folder / ".env", "EBAYSYNC_JOBS=3\n", mode)
    assert load(NAMED).jobs == 3


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_file_that_others_can_write_is_refused_for_all_settings(folder: Path, mode: int) -> None:
    write(folder / ".env", "EBAYSYNC_JOBS=3\n", mode)
    with pytest.raises(ConfigError, match="every user can write to"):
        load(NAMED)


def test_a_file_that_is_named_must_exist(folder: Path) -> None:
    with pytest.raises(ConfigError, match="EBAYSYNC_ENV_FILE"):
        load({"EBAYSYNC_ENV_FILE": "nowhere"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EBAYSYNC_JOBS", "0"),
        ("EBAYSYNC_JOBS", "many"),
        ("EBAYSYNC_SETTLE_SECONDS", "-1"),
        ("EBAYSYNC_SIMULATOR_URL", "http://example.org"),
        ("EBAYSYNC_SIMULATOR_URL", "127.0.0.1:80"),
        ("EBAYSYNC_LOG_FORMAT", "xml"),
        ("EBAYSYNC_DATABASE_URL", "mysql://secret-password@host/db"),
        ("EBAYSYNC_DATABASE_URL", "postgresql://u:secret-password@host:port/db"),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_a_secret_one_not_quoted(folder: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        load({name: value})
    assert "secret-password" not in str(caught.value)


def test_settings_survive_the_pipe_to_a_process(folder: Path) -> None:
    found = load(
        {"EBAYSYNC_JOBS": "3", "EBAYSYNC_DATABASE_URL": "postgresql://u:p@h/db", "EBAY_CLIENT_SECRET": "s" * 9}
    )
    assert load(found.as_environ(), env_file=False) == found


def test_every_secret_setting_is_a_secret_in_use() -> None:
    for field in fields(Settings):
        named = any(word in field.name for word in ("secret_key", "client_secret", "database_url", "proxy"))
        assert field.metadata["secret"] == (named and field.name != "secret_key_file")


def test_a_secret_shows_in_no_way() -> None:
    secret = Secret("hunter2hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{[secret]}", repr({"a": secret})]
    assert not any("hunter2" in text for text in shown)
    with pytest.raises(TypeError):
        json.dumps({"a": secret})
    with pytest.raises(TypeError):
        copy.deepcopy(secret)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_is_taken_out_of_what_libraries_log(form: str) -> None:
    Secret("v^1.1#i^1#tok/en+x")
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    try:
        logs.set_up(verbose=True, form=form, stream=stream)
        logging.getLogger("ebaysync.x").debug("GET /?t=%s %s", "v^1.1#i^1#tok/en+x", "v%5E1.1%23i%5E1%23tok%2Fen%2Bx")
        try:
            raise ValueError("bad v^1.1#i^1#tok/en+x")
        except ValueError:
            logging.getLogger("other").exception("oh")
    finally:
        logging.getLogger().handlers[:] = before
    text = stream.getvalue()
    assert "tok/en" not in text
    assert "tok%2Fen" not in text
    assert text.count("***") >= 3
    if form == "json":
        assert [json.loads(line)["level"] for line in text.splitlines()] == ["debug", "error"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_logged_by_its_kind_and_place_and_never_by_its_text(form: str) -> None:
    async def bug() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])  # and nobody asks for its exception: asyncio logs it, when the task goes

    async def fail() -> None:
        try:
            raise KeyError(person)
        except KeyError as first:
            raise ValueError(person) from first

    person = "Anna Schmidt"
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    try:
        logs.set_up(verbose=True, form=form, stream=stream)
        asyncio.run(bug())
        gc.collect()
        try:
            asyncio.run(fail())
        except ValueError as error:
            logging.getLogger("ebaysync.x").error("it failed", exc_info=error)
    finally:
        logging.getLogger().handlers[:] = before
    text = stream.getvalue()
    assert "never retrieved" in text
    assert "it failed" in text
    assert "ValueError" in text
    assert "in fail" in text
    assert "Anna" not in text


def test_redacting_leaves_ordinary_words_alone() -> None:
    Secret("abc")
    assert redact("abcdef") == "abcdef"


def test_every_error_has_an_exit_code_of_the_table() -> None:
    def below(kind: type[EbaysyncError]) -> list[type[EbaysyncError]]:
        return [kind, *(k for child in kind.__subclasses__() for k in below(child))]

    assert {kind.exit_code for kind in below(EbaysyncError)} == {1, 2, 10, 11, 12, 13}


def test_a_fifo_in_place_of_the_env_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe", 0o600)
    with pytest.raises(ConfigError):
        load({"EBAYSYNC_ENV_FILE": str(folder / "pipe")})
