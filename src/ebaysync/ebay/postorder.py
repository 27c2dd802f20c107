"""Post-Order v2: cancellations, cases, inquiries, returns. (api host; `Authorization: IAF`; not in the sandbox.)

The only filter is the day of creation, at most 18 months back. eBay itself completes a half-open window to 90 days. An
unknown parameter is ignored, and the filter with it, so every record's creation is checked against the request. Nobody
could prove whether `offset` counts rows or pages: `offsets` asks for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

import msgspec
from msgspec.structs import force_setattr

from ebaysync.ebay.quota import Quota
from ebaysync.ebay.rest import Api, Count, Counted, ListPage, RestApi, fields_of, stamp, text
from ebaysync.errors import AnswerNotUnderstood

QUOTAS = (
    Quota("post_order.cancellation", 5_000, r"^/post-order/v2/cancellation/", r"post.?order/.*cancel"),
    Quota("post_order.case", 5_000, r"^/post-order/v2/casemanagement/", r"post.?order/.*case"),
    Quota("post_order.inquiry", 5_000, r"^/post-order/v2/inquiry/", r"post.?order/.*inquir"),
    Quota("post_order.return", 5_000, r"^/post-order/v2/return/", r"post.?order/.*return"),
)

PATH = "/post-order/v2"
PAGE = 200
# eBay wants the content type for a GET, too.
API = RestApi("api", (("Content-Type", "application/json"),), "IAF", names_marketplace=True)
SLACK = timedelta(seconds=1)  # eBay may round the bounds
REACH = timedelta(days=550)  # 18 months; a date from beyond it is wrong, and proves nothing about the filter
SEVERAL = 2


class Paging(Counted, frozen=True):
    COUNTS = ("total_entries", "limit")
    TOTALS = ("total_entries",)

    total_entries: Count = None
    limit: Count = None


class SearchPage(ListPage, frozen=True):
    """`total` is the number of cancellations. Returns have it too, as a 0 that means nothing."""

    COUNTS = (*ListPage.COUNTS, "total_number_of_cases", "total_number_of_inquiries")
    TOTALS = ("total", "total_number_of_cases", "total_number_of_inquiries")
    LISTS = ("members", "cancellations")

    members: list[msgspec.Raw] | None = None
    cancellations: list[msgspec.Raw] | None = None
    pagination_output: Paging | None = None
    total_number_of_cases: Count = None
    total_number_of_inquiries: Count = None

    @property
    def counted(self) -> int | None:
        """The number of records in all; None if nothing says it."""
        paging = self.pagination_output.total_entries if self.pagination_output else None
        named = (paging, self.total, self.total_number_of_cases, self.total_number_of_inquiries)
        return max((number for number in named if number is not None), default=None)

    @property
    def counts(self) -> tuple[int | None, int | None]:
        return self.counted, self.pagination_output.limit if self.pagination_output else None

    @property
    def is_cut(self) -> bool:
        """Whether the page is full although more are counted, or nothing is counted."""
        limit = (self.pagination_output and self.pagination_output.limit) or PAGE
        records = len(self.rows or ()) + len(self.broken)
        return records >= limit and records != self.counted

    def missing(self) -> str | None:
        if self.pagination_output and self.pagination_output.has_nonsense:
            force_setattr(self, "has_nonsense", True)
        return ListPage.missing(self)


class _Moment(msgspec.Struct, frozen=True):
    value: datetime | None = None


class _Born(msgspec.Struct, rename="camel", frozen=True):
    creation_date: _Moment | None = None


class _Cancellation(msgspec.Struct, rename="camel", frozen=True):
    cancel_request_date: _Moment | None = None


class _Return(msgspec.Struct, rename="camel", frozen=True):
    return_id: str | int | None = None
    creation_info: _Born | None = None


@dataclass(frozen=True)
class PostOrderResource:
    """One of the four resources: its paths, its parameters' exact names, and where a record has its creation."""

    path: str
    since: str
    until: str
    created: Callable[[bytes], datetime | None]
    search: tuple[tuple[str, str], ...] = ()
    parts: tuple[str, ...] = ()
    """fields of which a detail has at least one; empty: there is no call by id"""
    key: tuple[str, ...] = ()
    """the path to a detail's id, which it may lack"""
    detail: tuple[tuple[str, str], ...] = ()
    summary: tuple[tuple[str, str], ...] = ()
    """parameters that ask for the summary, if the detail comes without it"""
    open: tuple[tuple[str, str], ...] = ()
    """parameters of a search for what is open, whenever it was created; empty: there is no such filter"""


def _of_summary(record: bytes) -> datetime | None:
    born = msgspec.json.decode(record, type=_Born).creation_date
    return born.value if born else None


def _of_cancellation(record: bytes) -> datetime | None:
    requested = msgspec.json.decode(record, type=_Cancellation).cancel_request_date
    return requested.value if requested else None


def _of_return(record: bytes) -> datetime | None:
    info = msgspec.json.decode(record, type=_Return).creation_info
    return info.creation_date.value if info and info.creation_date else None


CANCELLATIONS = PostOrderResource(
    "cancellation",
    "creation_date_range_from",
    "creation_date_range_to",
    _of_cancellation,
    search=(("role", "SELLER"),),
)
CASES = PostOrderResource(
    "casemanagement",
    "case_creation_date_range_from",
    "case_creation_date_range_to",
    _of_summary,
    parts=("caseId", "caseType", "status", "caseDetails"),
    key=("caseId",),
)
INQUIRIES = PostOrderResource(
    "inquiry",
    "inquiry_creation_date_range_from",
    "inquiry_creation_date_range_to",
    _of_summary,
    parts=("inquiryId", "status", "state", "inquiryDetails"),
    key=("inquiryId",),
)
RETURNS = PostOrderResource(
    "return",
    "creation_date_range_from",
    "creation_date_range_to",
    _of_return,
    search=(("role", "SELLER"),),
    parts=("summary", "detail"),
    key=("summary", "returnId"),
    detail=(("fieldgroups", "FULL"),),
    summary=(("fieldgroups", "SUMMARY"),),
    # Its meaning is not documented: what it leaves out is read by id.
    open=(("return_state", "ALL_OPEN"),),
)


async def search(api: Api, resource: PostOrderResource, start: datetime, end: datetime, offset: int = 0) -> SearchPage:
    """One page of the records that were created in a span. Raises AnswerNotUnderstood if several lie outside of it; one
    may be odd."""
    params = (
        (resource.since, stamp(start)),
        (resource.until, stamp(end)),
        *resource.search,
        ("limit", str(PAGE)),
        ("offset", str(offset)),
    )
    path = f"{PATH}/{resource.path}/search"
    page = await api.get(API, path, SearchPage, params)
    times = [time for record in page.rows or () if (time := _created(resource, bytes(record)))]
    possible = [time for time in times if start - REACH <= time <= end + REACH]
    outside = [time for time in possible if not start - SLACK <= time <= end + SLACK]
    if len(outside) >= SEVERAL:
        raise AnswerNotUnderstood(
            f"{path}: {len(outside)} of {len(times)} records, such as one of {outside[0].isoformat()}, "
            f"came for {stamp(start)} to {stamp(end)}: eBay does not know the filter"
        )
    return page


async def search_open(api: Api, resource: PostOrderResource) -> SearchPage:
    """The first page of the records that are open. Raises EbayError."""
    params = (*resource.open, *resource.search, ("limit", str(PAGE)), ("offset", "0"))
    return await api.get(API, f"{PATH}/{resource.path}/search", SearchPage, params)


def _created(resource: PostOrderResource, record: bytes) -> datetime | None:
    """A record's creation. None if it is missing; the family then reports what is wrong."""
    try:
        created = resource.created(record)
    except (ValueError, RecursionError):
        return None
    return created if created and created.tzinfo else None


def return_key(record: bytes) -> str | None:
    """The id of the return in a record of the search. None if it is missing."""
    try:
        key = msgspec.json.decode(record, type=_Return).return_id
    except (ValueError, RecursionError):
        return None
    return None if key is None else str(key)


async def detail(api: Api, resource: PostOrderResource, key: str, *, listed: bool = False) -> bytes:
    """One record with its details. Raises RecordNotFound.

    A return's FULL answer may come without the summary, which alone has the state (seen; eBay's own sample has both).
    Then the summary is asked for too, unless the search has just shown it (`listed`).
    """
    answer = await _by_id(api, resource, key, resource.detail)
    if listed or not resource.summary or (parts := fields_of(answer)) is None or "summary" in parts:
        return answer
    return msgspec.json.encode({**(fields_of(await _by_id(api, resource, key, resource.summary)) or {}), **parts})


async def _by_id(api: Api, resource: PostOrderResource, key: str, params: tuple[tuple[str, str], ...]) -> bytes:
    # Quoted as a whole: an id with a slash would lead to another call.
    path = f"{PATH}/{resource.path}/{quote(key, safe='')}"

    def missing(record: msgspec.Raw) -> str | None:
        if not any(name in resource.parts for name in fields_of(record) or ()):
            return f"the answer has none of {', '.join(resource.parts)}"
        found = record
        for name in resource.key:
            found = (fields_of(found) or {}).get(name, msgspec.Raw(b"null"))
        came = text(found)
        return None if came in (None, "null", key) else f"another {resource.key[-1]} was asked for than came"

    answer: msgspec.Raw = await api.get(API, path, msgspec.Raw, params, missing=missing)
    return bytes(answer)


def offsets(offset: int) -> tuple[int, ...]:
    """The offsets that may give the page that begins with this row, as eBay may count rows, pages from 0, or pages from
    1."""
    return (offset, offset // PAGE, offset // PAGE + 1) if offset else (0,)
