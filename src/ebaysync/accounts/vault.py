"""Stored secrets: AES-256-GCM, bound to their place.

    blob = version (1 byte) · key id (4) · nonce (12) · ciphertext and tag
    associated data = version, key id, environment, account or keyset, column

A blob that is copied to another row, column or environment does not decrypt. A key's id is derived from the key, so
that a blob names its key, and a missing key can be told from a damaged blob.

Keys that open nothing that is stored are never used to encrypt: a key file that was cut would lock a seller's fresh
consent away. `load_checked` and accounts/application compare them with what is stored. A command that opens a blob
first has compared them, too.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import UUID

from ebaysync import files
from ebaysync.accounts.accounts import connect_command
from ebaysync.errors import SecretKeyError
from ebaysync.log import Secret
from ebaysync.settings import Settings
from ebaysync.shown import word
from ebaysync.store.connection import Connection, Sent
from ebaysync.store.database import Database

VERSION = 1
SHORTEST_KEY = 16  # characters
_HEAD = 1 + 4
_NONCE = 12
_TAG = 16


class Vault:
    """Encrypts with its first key, decrypts with any."""

    def __init__(self, keys: list[Secret], source: str) -> None:
        # Imported where it is used: most commands open no secret, and it is a tenth of their start.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.source = source
        self._keys = {_key_id(key): AESGCM(_derived(key)) for key in keys}
        self._first = _key_id(keys[0])

    def seal(self, secret: Secret, environment: str, owner: UUID | str, column: str) -> bytes:
        head = bytes([VERSION]) + self._first
        # Random for each text: two texts with one key and nonce would reveal each other.
        nonce = os.urandom(_NONCE)
        bound = _bound(head, environment, owner, column)
        return head + nonce + self._keys[self._first].encrypt(nonce, secret.reveal().encode(), bound)

    def check(self, heads: Iterable[bytes]) -> None:
        """Compare the keys with what is stored (see `send_heads`). One that fits is enough: while keys are rotated, the
        new one has encrypted nothing yet.

        Raises SecretKeyError: something is stored, and no key opens any of it.
        """
        named = {head[1:] for head in heads}
        if named and named.isdisjoint(self._keys):
            raise SecretKeyError(
                f"all stored secrets were encrypted with a key that is not in {self.source}",
                hint="put that key back, whole; nothing was changed; if it is lost: "
                "ebaysync keys rotate --drop-unreadable",
            )

    def current(self, blob: bytes) -> bool:
        """Whether it was encrypted with the first key, so that there is nothing to rotate."""
        return blob[:_HEAD] == bytes([VERSION]) + self._first

    def open(self, blob: bytes, environment: str, owner: UUID | str, column: str, hint: str = "") -> Secret:
        """Decrypt a blob. `owner` is an account's id or a keyset's client id, `hint` a command that replaces the
        secret.

        Raises SecretKeyError: another key encrypted it, or it was changed or moved.
        """
        from cryptography.exceptions import InvalidTag

        head, nonce, sealed = blob[:_HEAD], blob[_HEAD : _HEAD + _NONCE], blob[_HEAD + _NONCE :]
        damaged = SecretKeyError(
            f"the stored {column} of {_owner_text(owner)} is damaged, or was copied from another place",
            hint=f"replace it: {hint or _replace_command(environment, owner)}",
        )
        if len(sealed) < _TAG:
            raise damaged
        cipher = self._keys.get(head[1:])
        if head[:1] != bytes([VERSION]) or cipher is None:
            raise SecretKeyError(
                f"the stored {column} was encrypted with a key that is not in {self.source}",
                hint="put that key back (more than one may stand there, with commas); nothing was changed",
            )
        try:
            return Secret(cipher.decrypt(nonce, sealed, _bound(head, environment, owner, column)).decode())
        except InvalidTag:
            raise damaged from None


def _replace_command(environment: str, owner: UUID | str) -> str:
    if isinstance(owner, UUID):
        return connect_command(str(owner), environment)
    return f"ebaysync keys signing create --environment {word(environment)} --renew"


def _owner_text(owner: UUID | str) -> str:
    return f"account {owner}" if isinstance(owner, UUID) else f"the keyset {owner}"


def _bound(head: bytes, environment: str, owner: UUID | str, column: str) -> bytes:
    """A UUID as bytes, or a prefixed client id. The prefix differs from every version 4 UUID."""
    whose = owner.bytes if isinstance(owner, UUID) else b"keyset:" + owner.encode()
    return b"\0".join([head, environment.encode(), whose, column.encode()])


def _derived(key: Secret) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"ebaysync 1 encryption").derive(key.reveal().encode())


def _key_id(key: Secret) -> bytes:
    return hashlib.sha256(b"ebaysync 1 key id" + _derived(key)).digest()[:4]


# Only whole blobs count: one that was cut proves nothing, and its seller must be able to consent again.
_HEADS = """
SELECT DISTINCT substr(blob, 1, 5) AS head FROM (
    SELECT refresh_token AS blob FROM ebay_tokens UNION ALL SELECT private_key FROM ebay_signing_keys) AS stored
WHERE length(blob) > 33
"""


async def send_heads(connection: Connection) -> Sent:
    """Ask for the heads of all stored secrets that eBay does not give again on request: few, since they name keys."""
    return await connection.send(_HEADS)


async def heads(sent: Sent) -> set[bytes]:
    """The answer of `send_heads`. Empty: nothing is stored, so any key is right."""
    return {row.head for row in (await sent.result()).rows}


async def load_checked(settings: Settings, db: Database) -> Vault:
    """The keys, once they are known to fit what is stored. Raises SecretKeyError, ConfigError, DatabaseError."""
    stored = await heads(await db.read(send_heads))
    vault = load(settings, may_create=not stored)
    vault.check(stored)
    return vault


def load(settings: Settings, *, may_create: bool) -> Vault:
    """The keys from the settings, or from the key file in EBAYSYNC_HOME, which is created if `may_create`.

    `may_create` means that no stored secret needs another key. Raises SecretKeyError, ConfigError.
    """
    if settings.secret_key:
        return _vault(settings.secret_key.reveal(), "EBAYSYNC_SECRET_KEY")
    path = _key_file(settings)
    service = files.account() if os.geteuid() == 0 else None
    owners = [service.pw_uid] if service else []
    read = partial(files.private_text, path, also_of=owners, in_home=settings.secret_key_file is None)
    try:
        try:
            text = read()
        except FileNotFoundError:
            # A new key would open nothing that is stored, and hide that the old one is missing.
            if settings.secret_key_file or not may_create:
                raise SecretKeyError(
                    f"the key file {path} does not exist, and the stored tokens cannot be read without it",
                    hint="restore it from your backup, or set EBAYSYNC_SECRET_KEY or EBAYSYNC_SECRET_KEY_FILE",
                ) from None
            _create(path)
            text = read()
        return _vault(text, str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SecretKeyError(f"the key file {path} cannot be read: {reason}") from None


def _key_file(settings: Settings) -> Path:
    named = settings.secret_key_file
    if named is None:
        return settings.home / "secret.key"
    # systemd's LoadCredential= puts the file there, where only the unit can read it.
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if not named.is_absolute() and credentials and (Path(credentials) / named).exists():
        return Path(credentials) / named
    return named


def _vault(text: str, source: str) -> Vault:
    keys = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    if not keys or any(len(key) < SHORTEST_KEY for key in keys):
        raise SecretKeyError(
            f"{source}: a key of at least {SHORTEST_KEY} characters is needed",
            hint="make one with: openssl rand -base64 32",
        )
    return Vault([Secret(key) for key in keys], source)


def _create(path: Path) -> None:
    """Create the key file. If two processes try at once, one wins and the other uses its key."""
    try:
        with closing(files.home(path.parent)) as folder:
            draft = f".{path.name}.{secrets.token_hex(4)}"
            with os.fdopen(folder.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                # On disk before anything is encrypted with it.
                os.fsync(file.fileno())
            try:
                # Not a rename, which would replace the key of a process that was faster, and lose what it encrypted.
                folder.link(draft, path.name)
            except FileExistsError:
                pass
            finally:
                folder.remove(draft)
    except OSError as error:
        raise SecretKeyError(
            f"the key file {path} cannot be made: {error.strerror}", hint="set EBAYSYNC_HOME"
        ) from None
