"""The Trading API's way of writing: XML, amounts, times, the envelope of an answer and its errors.

Sources: the WSDL's AbstractResponseType and ErrorType, and eBay's answers as captured: HTTP 200 whatever happens,
`Ack` tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from xml.sax.saxutils import escape  # nosec B406

from ebaysync.sim.calls import Answer, Refusal
from ebaysync.sim.clock import stamp

NAMESPACE = "urn:ebay:apis:eBLBaseComponents"

VERSION = "1487"
BUILD = f"E{VERSION}_CORE_API_19146280_R1"
SYSTEM_ERRORS = frozenset((10007,))
INVALID_TOKEN, EXPIRED_TOKEN, BAD_INPUT, OUT_OF_RANGE = 21916984, 21917053, 37, 340

TEXTS = {
    2: "Unsupported API call.",
    5: "XML Parse error.",
    37: "Input data is invalid.",
    340: "Page number is out of range.",
    518: "Call usage limit has been reached.",
    930: "No auth token.",
    931: "Auth token is invalid.",
    932: "Auth token is hard expired.",
    10007: "Internal error to the application.",
    10012: "Invalid value for header.",
    21916984: "Invalid IAF token.",
    21917053: "Expired IAF token.",
    21919144: "Your application has exceeded the short-term call limit for this seller.",
}
LONG_TEXTS = {
    37: "Input data for tag <{0}> is invalid or missing. Please check API documentation.",
    2: 'The API call "{0}" is invalid or not supported in this release.',
    10012: 'Invalid value for header "{0}".',
    21917053: "IAF token supplied is expired. ",
    21916984: "IAF token supplied is invalid. ",
}
GERMAN = "Die Anfrage ist fehlgeschlagen."


def tag(name: str, content: object) -> str:
    """An element with text, escaped; booleans as XML writes them, times with milliseconds."""
    if isinstance(content, bool):
        content = "true" if content else "false"
    elif isinstance(content, datetime):
        content = stamp(content)
    return f"<{name}>{escape(str(content))}</{name}>"


def box(name: str, *content: str) -> str:
    """An element with elements; empty ones close themselves."""
    inner = "".join(content)
    return f"<{name}>{inner}</{name}>" if inner else f"<{name}/>"


def money(name: str, cents: int, currency: str) -> str:
    """A double as Java prints it: 11.0, 10.95."""
    return f'<{name} currencyID="{currency}">{cents / 100}</{name}>'


def duration(left: timedelta) -> str:
    """`P2DT3H28M17S`, without what is nought; nothing left is `PT0S`."""
    seconds = max(0, int(left.total_seconds()))
    days, seconds = divmod(seconds, 86400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    time = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if value)
    if not days and not time:
        return "PT0S"
    return "P" + (f"{days}D" if days else "") + (f"T{time}" if time else "")


def pages(total: int, size: int) -> int:
    return -(-total // size)


def pagination(number_of_pages: int, total: int) -> str:
    inner = tag("TotalNumberOfPages", number_of_pages) + tag("TotalNumberOfEntries", total)
    return box("PaginationResult", inner)


def error(code: int, *parameters: str, severity: str = "Error", german: bool = False, says: str = "") -> str:
    short = says or (GERMAN if german else TEXTS.get(code, f"Error {code}."))
    long = short if german or says else LONG_TEXTS.get(code, short).format(*parameters)
    return box(
        "Errors",
        tag("ShortMessage", short),
        tag("LongMessage", long),
        tag("ErrorCode", code),
        tag("SeverityCode", severity),
        *(
            f'<ErrorParameters ParamID="{n}">{tag("Value", text)}</ErrorParameters>'
            for n, text in enumerate(parameters)
        ),
        tag("ErrorClassification", "SystemError" if code in SYSTEM_ERRORS else "RequestError"),
    )


def envelope(call: str, now: datetime, content: str, *, ack: str = "Success", errors: Iterable[str] = ()) -> bytes:
    head = tag("Timestamp", now) + tag("Ack", ack) + "".join(errors) + tag("Version", VERSION) + tag("Build", BUILD)
    root = f"{call}Response"
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">{head}{content}</{root}>'
    return text.encode("utf-8")


def answer(call: str, now: datetime, content: str, rows: Iterable[tuple[str, int]] = ()) -> Answer:
    return Answer(200, envelope(call, now, content), "text/xml;charset=utf-8", rows=tuple(rows))


def failure(call: str, now: datetime, *errors: str) -> Answer:
    return Answer(200, envelope(call, now, "", ack="Failure", errors=errors), "text/xml;charset=utf-8")


class Failed(Exception):
    """A call that eBay answers with one error of this number."""

    def __init__(self, code: int, *parameters: str) -> None:
        super().__init__(code, *parameters)
        self.code, self.parameters = code, parameters

    def refusal(self, call: str, now: datetime, *, german: bool) -> Refusal:
        text = error(self.code, *self.parameters, german=german)
        return Refusal(failure(call or "Unknown", now, text))
