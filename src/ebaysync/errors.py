"""Every error that ebaysync raises on purpose, with its exit code and a hint how to fix it.

    EbaysyncError                 1   a bug, where nothing below fits
    ├── UsageError                2   a wrong option, name or value
    ├── ConfigError               2   a wrong setting; the variable is named
    │   ├── KeysetRejected        2   eBay does not accept the client id and secret
    │   └── SecretKeyError        2   a key that does not fit the stored secrets
    ├── DatabaseError            10   unreachable, too old, not migrated
    │   └── SchemaBehind         10
    ├── OutOfMemory               1   EBAYSYNC_ACCOUNT_MEMORY_MB was not enough
    ├── LeaseHeld                11   another run holds this account and family
    ├── LeaseLost                11   another run took over; nothing more was written
    ├── ConsentNeeded            12   the seller must consent (again)
    │   └── TokenRefused         12   eBay refuses a token that was just renewed
    ├── EbayError                13   eBay refused or failed
    │   ├── EbayUnreachable      13   transient: connection, timeout, cut or garbled answer
    │   │   └── CertificateInvalid
    │   │                        13   the server is not eBay's, or the way there is tapped
    │   ├── EbayBusy             13   transient: 500, 502, 503, 504, Trading's system errors
    │   │   └── RateLimited      13   transient: 429, Trading's 21919144: too many calls at once
    │   ├── QuotaSpent           13   the day's calls are used up (Trading 518, some 429)
    │   │   └── ShareSpent       13   a run's part of what is left is used up
    │   ├── EbayRejected         13   eBay says that the request is wrong
    │   │   ├── Unauthorized     13   401, or Trading's codes for it: the access token is not accepted
    │   │   ├── AccessDenied     13   403
    │   │   │   ├── ScopeMissing 12   403/1100, or the consent on record lacks the family's scope
    │   │   │   └── SignatureRefused
    │   │   │       │            13   eBay asks for a digital signature, or does not accept the one it got
    │   │   │       ├── SigningKeyMissing   there is no key to sign with
    │   │   │       ├── SignatureDemanded   transient: the call was not signed
    │   │   │       └── SignatureStale      transient: its time was off
    │   │   ├── RecordNotFound   13   404 with eBay's error envelope
    │   │   └── PageOutOfRange   13   Trading 340: a page behind the last one
    │   ├── NothingNew           13   many calls brought no record that had not come before
    │   ├── MassRemoval          13   a complete scan misses more than half of what is known
    │   └── AnswerNotUnderstood  13   an answer that is not what eBay documents: never "no data"
    │       ├── ListMissing      13   a success without the list that was asked for
    │       └── BodyBroken       13   a body that arrived whole and cannot be decoded
    │           ├── XmlBroken
    │           └── JsonBroken
    └── Interrupted         130/143   SIGINT, SIGTERM

`code` is a stable word for scripts (`error.code` of --json); the message says what happened and where,
`hint` what to do. None of them ever carries a token, a secret or a person's data.
"""

from __future__ import annotations

import re
import signal
from typing import ClassVar

from ebaysync.log import redact
from ebaysync.shown import escaped, word


class EbaysyncError(Exception):
    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "bug"
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # A message may echo what was sent, and contain characters that no terminal and no database accepts.
        super().__init__(escaped(redact(message)))
        if hint is not None:
            self.hint = hint

    @property
    def message(self) -> str:
        return str(self.args[0])

    def about(self, account_word: str, environment: str) -> None:
        """Write an account, as a word of a command, and its environment into the hint: for NAME and ENVIRONMENT."""
        words = {"NAME": account_word, "ENVIRONMENT": word(environment)}
        filled = re.sub(r"\b(NAME|ENVIRONMENT)\b", lambda found: words[found[0]], self.hint or "")
        if filled != (self.hint or ""):  # else it stays the hint of the class
            self.hint = filled

    def as_dict(self) -> dict[str, str | None]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


def exit_codes() -> dict[str, int]:
    """The exit code for each error `code`, for callers that have only the code left."""

    def below(kind: type[EbaysyncError]) -> dict[str, int]:
        found = {kind.code: kind.exit_code}
        for child in kind.__subclasses__():
            found |= below(child)
        return found

    return below(EbaysyncError)


class UsageError(EbaysyncError):
    exit_code = 2
    code = "usage"


class ConfigError(EbaysyncError):
    exit_code = 2
    code = "settings"


class KeysetRejected(ConfigError):
    code = "keyset"


class SecretKeyError(ConfigError):
    code = "secret_key"


class DatabaseError(EbaysyncError):
    exit_code = 10
    code = "database"


class SchemaBehind(DatabaseError):
    code = "schema"


class OutOfMemory(EbaysyncError):
    code = "memory"
    hint = "raise EBAYSYNC_ACCOUNT_MEMORY_MB; what was stored stays, and the next run goes on from there"


class LeaseHeld(EbaysyncError):
    exit_code = 11
    code = "held"


class LeaseLost(EbaysyncError):
    exit_code = 11
    code = "lease_lost"
    hint = "nothing is wrong: another run took this account and family over and goes on with it"


class ConsentNeeded(EbaysyncError):
    exit_code = 12
    code = "needs_consent"


class TokenRefused(ConsentNeeded):
    """A call was refused for its token, and again with a renewed one.

    `dead`: eBay says that the token is dead. Else it may only lack the scope of this call.
    """

    def __init__(self, message: str, *, hint: str | None = None, dead: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.dead = dead


class EbayError(EbaysyncError):
    """eBay refused or failed. `transient` says whether a retry can help."""

    exit_code = 13
    code = "ebay"
    transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        error_id: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.error_id = error_id
        self.retry_after = retry_after


class EbayUnreachable(EbayError):
    """`status` is set if eBay did answer, and the answer was garbled."""

    code = "unreachable"
    transient = True
    hint = "what was stored stays, and the next try continues from there"


class CertificateInvalid(EbayUnreachable):
    code = "certificate"
    transient = False


class EbayBusy(EbayError):
    code = "busy"
    transient = True
    hint = "what was stored stays, and the next try continues from there"


class RateLimited(EbayBusy):
    """Too many calls at once. The calls of this API wait (ebay/gate)."""


class QuotaSpent(EbayError):
    code = "quota"
    hint = "the quota is the keyset's, of all accounts together, and comes back with the next day"


class ShareSpent(QuotaSpent):
    """The run has used up its part of what is left of a quota, because the rest is for other accounts."""


class EbayRejected(EbayError):
    code = "rejected"


class Unauthorized(EbayRejected):
    code = "unauthorized"


class AccessDenied(EbayRejected):
    code = "access_denied"


class ScopeMissing(AccessDenied):
    exit_code = 12
    code = "missing_scope"
    hint = "let the seller consent to it: ebaysync accounts connect NAME --environment ENVIRONMENT"


class SignatureRefused(AccessDenied):
    """eBay asks for a digital signature, or refuses the one it got."""

    code = "signature"
    hint = "see `ebaysync keys signing list`; a new key: ebaysync keys signing create --environment ENVIRONMENT --renew"


class SigningKeyMissing(SignatureRefused):
    code = "signing_key"
    hint = "make one: ebaysync keys signing create --environment ENVIRONMENT"


class SignatureDemanded(SignatureRefused):
    """The call was not signed although there is a key. Signed, it can succeed."""

    transient = True


class SignatureStale(SignatureRefused):
    """The signature's time is off, which eBay's answer has just shown. Signed again, it can succeed."""

    code = "signature_stale"
    transient = True


def is_denied(error: BaseException) -> bool:
    """Whether eBay denies a call to this account: a 403 that a signature cannot change.

    The 403 of a list concerns its family. The 403 of a detail concerns that record only, as long as the list is
    answered.
    """
    return isinstance(error, AccessDenied) and not isinstance(error, SignatureRefused)


class RecordNotFound(EbayRejected):
    code = "not_found"


class PageOutOfRange(EbayRejected):
    code = "page_out_of_range"


class AnswerNotUnderstood(EbayError):
    code = "not_understood"
    hint = "the answer was not used, and nothing is skipped; run it again with --verbose to see the request"


class ListMissing(AnswerNotUnderstood):
    pass


class BodyBroken(AnswerNotUnderstood):
    """`document` is the body as received, if it is small enough to keep.

    `by_a_record` means that one record may be the cause, so asking for fewer records helps.
    """

    def __init__(self, message: str, *, document: bytes | None = None, by_a_record: bool = True) -> None:
        super().__init__(message)
        self.document = document
        self.by_a_record = by_a_record


class NothingNew(EbayError):
    code = "nothing_new"


class XmlBroken(BodyBroken):
    code = "bad_xml"


class JsonBroken(BodyBroken):
    code = "bad_json"


class MassRemoval(EbayError):
    code = "too_much_gone"
    hint = "nothing was removed; if it is true, run it with --accept-removals, or wait for the third scan that says so"


class Interrupted(EbaysyncError):
    code = "interrupted"

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_status(self) -> int:
        return 128 + self.signum
