"""Cancellations, cases, inquiries and returns of the Post-Order API: traps that its pages state or others have met."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ebaysync.sim.apis.postorder import CASES, INQUIRIES, RETURNS, SEARCHES, Search
from ebaysync.sim.clock import ManualClock
from ebaysync.sim.model import Thing
from ebaysync.sim.quirks import Quirks, Rates
from ebaysync.sim.world import World

Simulate = Callable[..., Any]
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
FOLDERS = {"cancellation": "cancellation", "case": "casemanagement", "inquiry": "inquiry", "return": "return"}
IDS = {"cancellation": "cancelId", "case": "caseId", "inquiry": "inquiryId", "return": "returnId"}
KINDS = ("case", "inquiry", "return")  # with a detail
RECORDS = {"cancellation": "cancellations"}
HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "X-EBAY-C-MARKETPLACE-ID": "EBAY_US",
}


def path(kind: str, last: str = "search") -> str:
    return f"/post-order/v2/{FOLDERS[kind]}/{last}"


def written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


@pytest.fixture
def post_order(simulate: Simulate) -> Callable[..., Any]:
    """`post_order(things=…)`: a caller with the headers that the API wants."""

    def start(**options: Any) -> Any:
        caller = simulate(**options)
        caller.http.headers.update(HEADERS)
        login(caller)
        return caller

    return start


def login(caller: Any) -> None:
    caller.http.headers.pop("content-type")  # a form's own
    caller.login()
    authorization = caller.http.headers["authorization"].replace("Bearer", "IAF")
    caller.http.headers.update({**HEADERS, "Authorization": authorization})


def pass_days(caller: Any, days: int) -> None:
    caller.sim.world.clock.advance(days * 86400)
    login(caller)


def page(caller: Any, kind: str, **parameters: Any) -> dict[str, Any]:
    answer = caller.get(path(kind), **parameters)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ids(caller: Any, kind: str, **parameters: Any) -> list[str]:
    return [str(row[IDS[kind]]) for row in page(caller, kind, **parameters).get(RECORDS.get(kind, "members"), [])]


def detail(caller: Any, thing: Thing, **parameters: Any) -> dict[str, Any]:
    answer = caller.get(path(thing.kind, thing.id), **parameters)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def opened(caller: Any, kind: str, *, at: datetime | None = None) -> Thing:
    thing: Thing = caller.sim.world.add_thing(caller.seller, kind, at=at)
    return thing


# Transport


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("header", "message"),
    [("Bearer {}", "Bad scheme: Bearer"), (None, "Missing access token"), ("IAF nonsense", "Invalid access token")],
)
def test_only_iaf_with_a_good_token_opens_the_api(
    header: str | None, message: str, kind: str, simulate: Simulate
) -> None:
    caller = simulate()
    token = caller.http.headers["authorization"].removeprefix("Bearer ")
    headers = HEADERS | ({"Authorization": header.format(token)} if header else {})
    answer = httpx.get(caller.sim.url + path(kind), headers=headers)
    (error,) = answer.json()["errorMessage"]["error"]
    assert (answer.status_code, error["httpStatusCode"], error["longMessage"]) == (401, "401", message)


def test_an_expired_token_is_refused(post_order: Simulate) -> None:
    caller = post_order()
    assert caller.get(path("case")).status_code == 200
    caller.sim.expire_tokens()
    assert caller.get(path("case")).status_code == 401


@pytest.mark.parametrize(
    ("scope", "status"),
    [("/sell.fulfillment", 200), ("/sell.fulfillment.readonly", 200), ("", 200), ("/sell.finances", 403)],
)
def test_the_scopes_of_orders_or_the_base_scope_are_needed(scope: str, status: int, post_order: Simulate) -> None:
    caller = post_order()
    caller.sim.narrow(caller.seller, f"https://api.ebay.com/oauth/api_scope{scope}")
    assert caller.get(path("return")).status_code == status


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_is_needed_even_for_get(name: str, post_order: Simulate) -> None:
    caller = post_order()
    headers = {key: value for key, value in caller.http.headers.items() if key.lower() != name.lower()}
    # httpx puts an Accept of its own where there is none.
    answer = httpx.get(caller.sim.url + path("case"), headers=headers)
    assert (answer.status_code, caller.get(path("case")).status_code) == (400, 200)


@pytest.mark.parametrize(
    ("envelope", "read"),
    [
        ("errorMessage", lambda body: body["errorMessage"]["error"]),
        ("error", lambda body: body["error"]),
        ("errors", lambda body: body["errors"]),
    ],
)
def test_errors_come_in_the_envelope_asked_for(envelope: str, read: Any, post_order: Simulate) -> None:
    caller = post_order(post_order_errors=envelope)
    assert read(caller.get(path("case"), limit="0").json())[0]["errorId"] == 1004
    caller.sim.faults.add("status", status=429, envelope=envelope, path="post-order")
    answer = caller.get(path("case"))
    assert (answer.status_code, read(answer.json())[0]["errorId"], len(answer.json())) == (429, 2001, 1)


# What a search takes

BAD = {
    "limit of 0": {"limit": "0"},
    "limit in words": {"limit": "many"},
    "offset below 0": {"offset": "-1"},
    "sort": {"sort": "NEWEST"},
    "transaction without item": {"transaction_id": "1"},
    "no milliseconds": {"_from": "2026-06-01T00:00:00Z"},
    "an offset instead of Z": {"_from": "2026-06-01T00:00:00.000+00:00"},
    "a day that is none": {"_to": "2026-02-30T00:00:00.000Z"},
    "more than 18 months back": {"_from": "2024-12-31T12:00:00.000Z"},
    "an end 16 months back": {"_to": "2025-03-01T00:00:00.000Z"},
    "wider than 90 days": {"_from": "2026-04-01T00:00:00.000Z", "_to": "2026-06-30T00:00:00.001Z"},
    "backwards": {"_from": "2026-06-02T00:00:00.000Z", "_to": "2026-06-01T00:00:00.000Z"},
}


@pytest.mark.parametrize("method", SEARCHES, ids=lambda method: method.kind)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused(name: str, method: Search, post_order: Simulate) -> None:
    parameters = {method.dates + key if key[0] == "_" else key: value for key, value in BAD[name].items()}
    answer = post_order().get(path(method.kind), **parameters)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errorMessage"]["error"][0]["errorId"] in range(1004, 1009)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("case", "case_status_filter"),
        ("inquiry", "inquiry_status"),
        ("return", "return_state"),
        ("return", "role"),
        ("cancellation", "role"),
    ],
)
def test_a_value_outside_of_an_enumeration_is_refused(kind: str, name: str, post_order: Simulate) -> None:
    assert post_order().get(path(kind), **{name: "WHATEVER"}).status_code == 400


@pytest.mark.parametrize("method", SEARCHES, ids=lambda method: method.kind)
def test_both_ends_belong_to_the_window_and_90_days_are_its_width(method: Search, post_order: Simulate) -> None:
    caller, kind = post_order(), method.kind
    begin, end = START - 100 * DAY, START - 10 * DAY
    moments = [begin - timedelta(milliseconds=1), begin, end, end + timedelta(milliseconds=1)]
    things = [opened(caller, kind, at=at) for at in moments]
    inside = [things[2].id, things[1].id]
    first, last = f"{method.dates}_from", f"{method.dates}_to"
    assert ids(caller, kind, **{first: written(begin), last: written(end)}) == inside
    assert ids(caller, kind, **{first: written(begin)}) == inside  # to = from + 90 days
    assert ids(caller, kind, **{last: written(end)}) == inside  # from = to - 90 days
    assert len(ids(caller, kind, **{f"item_{first}": written(begin)})) == 4  # a misspelt name filters nothing
    assert caller.sim.journal[-1].query == {f"item_{first}": written(begin)}


@pytest.mark.parametrize("kind", KINDS)
def test_eighteen_months_back_can_be_asked_for(kind: str, post_order: Simulate) -> None:
    caller = post_order(things=60, days=90)
    dates = {search.kind: search.dates for search in SEARCHES}[kind]
    old = ids(caller, kind, **{f"{dates}_from": "2025-01-01T12:00:00.000Z", "limit": 200})
    bodies = caller.sim.world.things(caller.seller, kind)
    assert old
    assert not {bodies[number].body["order_id"] for number in old} & set(caller.seller.orders)


@pytest.mark.parametrize("kind", KINDS)
def test_things_of_late_are_about_orders_of_the_seller(kind: str, post_order: Simulate) -> None:
    caller = post_order(orders_per_seller=50, days=30)
    thing = opened(caller, kind)
    order = caller.seller.orders[thing.body["order_id"]].body()  # type: ignore[index]
    lines = [(line["legacyItemId"], line["lineItemId"]) for line in order["lineItems"]]
    (row,) = page(caller, kind)["members"]
    item = row["creationInfo"]["item"] if kind == "return" else row
    buyer = row["buyerLoginName" if kind == "return" else "buyer"]
    assert (str(item["itemId"]), str(item["transactionId"])) in lines
    assert buyer == order["buyer"]["username"]
    assert ("orderId" in row) == (kind == "return")
    found = [ids(caller, kind, order_id=order["orderId"]), ids(caller, kind, item_id=item["itemId"])]
    assert found == [[thing.id], [thing.id]]
    assert ids(caller, kind, item_id=item["itemId"], transaction_id="1") == []


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_newest_first_unless_asked_otherwise(kind: str, post_order: Simulate) -> None:
    caller = post_order(things=30)
    oldest_first = "FILING_DATE" if kind == "return" else "Ascending"
    newest = ids(caller, kind, limit=200)
    things = caller.sim.world.things(caller.seller, kind)
    assert newest == sorted(things, key=lambda number: (things[number].created, number), reverse=True)
    assert ids(caller, kind, limit=200, sort=oldest_first) == newest[::-1]
    assert ids(caller, kind) == newest[:25]


def test_returns_can_be_filtered_by_state_and_role(post_order: Simulate) -> None:
    caller = post_order(things=40)
    closed = ids(caller, "return", return_state="CLOSED", limit=200)
    still_open = ids(caller, "return", return_state="ALL_OPEN", limit=200)
    assert closed
    assert still_open
    assert sorted(closed + still_open) == sorted(ids(caller, "return", role="SELLER", limit=200))
    assert ids(caller, "return", states="CLOSED", limit=200) == closed
    assert ids(caller, "return", role="BUYER") == []


# Pages


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset_counts_rows_or_pages_as_the_world_has_it(kind: str, post_order: Simulate) -> None:
    caller = post_order(things=40)
    world: World = caller.sim.world
    rows = ids(caller, kind, limit=200)
    at = {offset: ids(caller, kind, limit=10, offset=offset) for offset in (0, 1, 2, 10)}
    assert at == {offset: rows[offset : offset + 10] for offset in at}
    world.quirks = replace(world.quirks, post_order_offset="page")
    at = {offset: ids(caller, kind, limit=10, offset=offset) for offset in (0, 1, 2, 999)}
    assert at == {0: rows[:10], 1: rows[:10], 2: rows[10:20], 999: []}
    echoed = page(caller, kind, limit=10)["paginationOutput"]
    pages = -(-len(rows) // 10)
    offset = 1 if kind == "return" else 0
    assert echoed == {"limit": 10, "offset": offset, "totalEntries": len(rows), "totalPages": pages}


@pytest.mark.parametrize("method", SEARCHES, ids=lambda method: method.kind)
def test_an_empty_list_has_zeros_or_nothing_for_pages_and_not_always_records(
    method: Search, post_order: Simulate
) -> None:
    caller = post_order()
    found = [page(caller, method.kind, item_id=number) for number in range(12)]
    zeros = {None} if method.kind == "cancellation" else {(0, 0, 0, 0)}
    pages = [answer.get("paginationOutput") for answer in found]
    assert {shown and tuple(shown.values()) for shown in pages} == zeros
    assert {method.records in answer for answer in found} == {True, False}
    assert [answer[method.total] for answer in found] == [0] * 12


def test_the_totals_have_names_of_their_own(post_order: Simulate) -> None:
    caller = post_order(things={"case": 3, "inquiry": 0, "return": 3})
    assert page(caller, "case")["totalNumberOfCases"] >= 3
    returns = page(caller, "return")
    assert returns["total"] == 0  # "not currently used"
    assert returns["paginationOutput"]["totalEntries"] == 3
    counts = {entry["type"]: entry["count"] for entry in returns["countSummary"]}
    assert counts.get("ALL_OPEN", 0) + counts.get("CLOSED", 0) == 3


# What happens


@pytest.mark.parametrize("kind", ["case", "inquiry"])
def test_a_message_moves_the_last_modification_and_the_history_only(
    kind: str, post_order: Simulate, clock: ManualClock
) -> None:
    caller = post_order()
    thing = opened(caller, kind)
    before, entries = page(caller, kind)["members"][0], _history(caller, thing)
    clock.advance(3600)
    caller.sim.world.move_thing(thing, "message")
    after = page(caller, kind)["members"][0]
    assert before.pop("lastModifiedDate")["value"] == written(START)
    assert after.pop("lastModifiedDate")["value"] == written(START + timedelta(hours=1))
    assert before == after
    assert _history(caller, thing)[:-1] == entries


def test_no_search_shows_a_message_in_a_return(post_order: Simulate, clock: ManualClock) -> None:
    caller = post_order()
    thing = opened(caller, "return")
    before, entries = page(caller, "return"), _history(caller, thing)
    clock.advance(3600)
    caller.sim.world.move_thing(thing, "message")
    assert page(caller, "return") == before
    assert _history(caller, thing)[:-1] == entries
    assert _history(caller, thing)[-1]["creationDate"]["value"] == written(START + timedelta(hours=1))


def _history(caller: Any, thing: Thing) -> list[Any]:
    found = detail(caller, thing, fieldgroups="FULL")
    if thing.kind == "return":
        return list(found["detail"]["responseHistory"])
    return list(found[f"{thing.kind}HistoryDetails"]["history"])


@pytest.mark.parametrize(
    ("method", "field"), [(CASES, "caseStatusEnum"), (INQUIRIES, "inquiryStatusEnum"), (RETURNS, "state")]
)
def test_old_things_close_and_an_appeal_opens_them_again_in_no_new_window(
    method: Search, field: str, post_order: Simulate, clock: ManualClock
) -> None:
    caller, kind = post_order(), method.kind
    thing = opened(caller, kind)
    pass_days(caller, 200)
    while not (thing.body or {})["closed"]:
        caller.sim.world.move_thing(thing, "advance")
    (closed,) = page(caller, kind)["members"]
    assert closed[field] in ("CLOSED", "CS_CLOSED")
    assert not closed.get("respondByDate")
    clock.advance(3600)
    caller.sim.world.move_thing(thing, "appeal")
    (reopened,) = page(caller, kind)["members"]
    assert reopened[field] not in ("CLOSED", "CS_CLOSED")
    assert reopened.get("respondByDate") or reopened["sellerResponseDue"]
    assert ids(caller, kind, **{f"{method.dates}_from": written(START + 199 * DAY)}) == []


def test_what_closed_long_ago_rests(post_order: Simulate) -> None:
    caller = post_order()
    thing = opened(caller, "inquiry")
    while not (thing.body or {})["closed"]:
        caller.sim.world.move_thing(thing, "advance")
    pass_days(caller, 31)
    before = page(caller, "inquiry")
    for move in ("message", "refund", "respond_by", "advance", "escalate"):
        caller.sim.world.move_thing(thing, move)
    assert page(caller, "inquiry") == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_date_to_answer_by_and_the_refunds_move(kind: str, post_order: Simulate, clock: ManualClock) -> None:
    caller = post_order()
    thing = opened(caller, kind)

    def due() -> str:
        (row,) = page(caller, kind)["members"]
        found = row["sellerResponseDue"] if kind == "return" else row
        return str(found["respondByDate"]["value"])

    before = due()
    clock.advance(3600)
    caller.sim.world.move_thing(thing, "respond_by")
    assert due() > before
    unpaid = json.dumps(detail(caller, thing, fieldgroups="FULL"))
    caller.sim.world.move_thing(thing, "refund")
    paid = json.dumps(detail(caller, thing, fieldgroups="FULL"))
    sign = "actualRefundAmount" if kind == "return" else '"type": "REFUND"'
    assert (sign in unpaid, sign in paid) == (False, True)


def test_an_escalated_return_becomes_a_case_that_names_it(post_order: Simulate) -> None:
    caller = post_order()
    thing = opened(caller, "return")
    caller.sim.world.move_thing(thing, "escalate")
    (row,) = page(caller, "return")["members"]
    (case,) = caller.sim.world.things(caller.seller, "case").values()
    assert (row["status"], str(row["escalationInfo"]["caseId"])) == ("ESCALATED", case.id)
    found = detail(caller, case)
    assert (found["caseType"], str(found["returnId"])) == ("RETURN", thing.id)
    assert ids(caller, "case", return_id=thing.id) == [case.id]


def test_an_escalated_inquiry_closes_and_goes_on_as_a_case_of_the_same_sale(post_order: Simulate) -> None:
    caller = post_order()
    thing = opened(caller, "inquiry")
    caller.sim.world.move_thing(thing, "escalate")
    (row,), (case,) = page(caller, "inquiry")["members"], page(caller, "case")["members"]
    assert row["inquiryStatusEnum"] == "CLOSED_WITH_ESCALATION"
    assert all(str(row[name]) == str(case[name]) for name in ("itemId", "transactionId", "buyer"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_removed_or_anothers_is_not_found(kind: str, post_order: Simulate) -> None:
    caller = post_order(sellers=2)
    mine = opened(caller, kind)
    others = caller.sim.world.add_thing(caller.sim.world.sellers[1], kind)
    assert (caller.get(path(kind, mine.id)).status_code, caller.get(path(kind, others.id)).status_code) == (200, 404)
    caller.sim.world.put_thing(mine, None)
    answer = caller.get(path(kind, mine.id))
    assert (answer.status_code, answer.json()["errorMessage"]["error"][0]["httpStatusCode"]) == (404, "404")
    assert ids(caller, kind) == []


def test_the_journal_names_what_was_served_with_its_version(post_order: Simulate) -> None:
    caller = post_order()
    thing = opened(caller, "return")
    caller.sim.world.move_thing(thing, "message")
    page(caller, "return")
    detail(caller, thing)
    assert [entry.rows for entry in caller.sim.journal][-2:] == [((thing.id, 2),)] * 2


def test_a_return_has_the_parts_that_were_asked_for(post_order: Simulate) -> None:
    caller = post_order()
    thing = opened(caller, "return")
    parts = {group: set(detail(caller, thing, fieldgroups=group)) for group in ("FULL", "SUMMARY")}
    assert parts == {"FULL": {"summary", "detail"}, "SUMMARY": {"summary"}}
    caller.sim.world.quirks = Quirks(return_detail="only_detail")
    parts = {group: set(detail(caller, thing, fieldgroups=group)) for group in ("FULL", "SUMMARY")}
    assert parts == {"FULL": {"detail"}, "SUMMARY": {"summary"}}
    assert caller.get(path("return", thing.id), fieldgroups="ALL").status_code == 400


@pytest.mark.parametrize("name", ["post_order_offset", "post_order_errors", "return_detail"])
def test_a_switch_takes_known_values_alone(name: str) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        Quirks(**{name: "nonsense"})  # type: ignore[arg-type]


def test_the_same_seed_makes_the_same_complaints_and_moves() -> None:
    one, two = (
        World(5, 1, 20, ManualClock(START), things=10, rates=Rates(new_things_per_hour=5, thing_changes_per_hour=20))
        for _ in range(2)
    )
    for world in (one, two):
        world.clock.advance(20 * 3600)  # type: ignore[attr-defined]
    for kind in KINDS:
        bodies = [{t.id: t.versions for t in w.things(w.sellers[0], kind).values()} for w in (one, two)]
        assert bodies[0] == bodies[1]
        assert any(len(versions) > 1 for versions in bodies[0].values())


# What is served


@pytest.fixture
def documents(post_order: Simulate) -> dict[str, list[Any]]:
    """Many answers of each kind, by eBay's name of their type."""
    caller = post_order(things=40, orders_per_seller=80, thing_changes_per_hour=10)
    pass_days(caller, 1)
    found: dict[str, list[Any]] = {}
    for kind, (listed, single) in TYPES.items():
        found[listed] = [page(caller, kind, limit=200), page(caller, kind, item_id="0")]
        things = caller.sim.world.things(caller.seller, kind).values()
        found[single] = [detail(caller, thing, fieldgroups="FULL") for thing in things]
    return found


TYPES = {
    "case": ("CaseSearchResponse", "CaseDetailsResponse"),
    "inquiry": ("InquirySearchResponse", "InquiryDetailsResponse"),
    "return": ("GetSummaryResponse", "GetDetailResponse"),
}


def values(document: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value at every depth, with the name of its field."""
    yield name, document
    if isinstance(document, list):
        for part in document:
            yield from values(part, name)
    elif isinstance(document, dict):
        for key, part in document.items():
            yield from values(part, key)


def test_amounts_ids_and_dates_come_in_every_shape_that_was_seen(documents: dict[str, list[Any]]) -> None:
    everything = list(values(list(documents.values())))
    amounts = [value for name, value in everything if name.endswith("Amount") and isinstance(value, dict)]
    assert {type(amount["value"]) for amount in amounts} == {int, float, str}
    assert {"currency" in amount for amount in amounts} == {True, False}
    assert any("convertedFromValue" in value for _, value in everything if isinstance(value, dict))
    for name in ("caseId", "inquiryId", "returnId", "itemId", "transactionId"):
        assert {type(value) for key, value in everything if key == name} - {type(None)} == {int, str}, name
    dates = [value for name, value in everything if name.endswith("Date")]
    assert None in dates
    assert {"formattedValue" in date for date in dates if date} == {True, False}
    names = {name for name, _ in everything}
    assert {"viewPPTrasanctionUrl", "rmarequired"} <= names
    assert "lastModifiedDate" not in {name for name, _ in values(documents["GetDetailResponse"])}


def test_an_open_return_may_tell_how_it_closed(documents: dict[str, list[Any]]) -> None:
    unfinished = [answer for answer in documents["GetDetailResponse"] if answer["summary"]["state"] != "CLOSED"]
    assert {"closeInfo" in answer["detail"] for answer in unfinished} == {True, False}


@pytest.fixture(scope="module")
def types(shared: Path) -> dict[str, dict[str, str]]:
    """The fields of every type of the Post-Order API, each with its own type's name."""
    found: dict[str, dict[str, str]] = {}
    for line in (shared / "ebay/specs/post-order-types.tsv").read_text().splitlines():
        kind, name, field, *rest = line.split("\t")
        if kind == "type":
            found.setdefault(name, {})[field] = rest[0].rpartition("\\")[2].removesuffix("[]")
    return found


Pair = tuple[str, str]  # a field with the field around it


def unknown(document: Any, name: str, types: dict[str, dict[str, str]], around: str = "") -> Iterator[Pair]:
    """The fields of a document that its type lacks."""
    if isinstance(document, list):
        for part in document:
            yield from unknown(part, name, types, around)
    elif isinstance(document, dict):
        for key, part in document.items():
            if key in types.get(name, {}):
                yield from unknown(part, types[name][key], types, key)
            else:
                yield around, key


def pairs(document: Any, around: str = "") -> Iterator[Pair]:
    if isinstance(document, list):
        for part in document:
            yield from pairs(part, around)
    elif isinstance(document, dict):
        for key, part in document.items():
            yield around, key
            yield from pairs(part, key)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_one_of_ebays_types_or_samples(
    kind: str, documents: dict[str, list[Any]], types: dict[str, dict[str, str]], shared: Path
) -> None:
    """The samples are younger than the types. A row of the returns' search is the summary of a return's detail."""
    samples = (shared / "ebay/samples/trading-postorder").glob("post-order-*.json")
    seen = {pair for sample in samples for pair in pairs(json.loads(sample.read_text()))}
    seen |= {("members", field) for around, field in seen if around == "summary"}
    for name in TYPES[kind]:
        strange = {pair for document in documents[name] for pair in unknown(document, name, types)}
        assert not strange - seen


def test_every_parameter_is_one_of_ebays(types: dict[str, dict[str, str]]) -> None:
    requests = {
        "cancellation": "SearchCancellationsRestRequest",
        "case": "SearchCasesRestRequest",
        "inquiry": "SearchInquiriesRestRequest",
        "return": "SearchReturnsRestRequest",
    }
    newer = {  # of the page of 2.10.0
        "return": {"order_id", "return_id", "role"},
        "cancellation": {"role", "buyer_login_name", "seller_login_name"},
    }
    for method in SEARCHES:
        name = requests[method.kind]
        assert method.parameters - newer.get(method.kind, set()) == set(types[name]) - newer.get(method.kind, set())


@pytest.mark.parametrize("kind", KINDS)
def test_the_community_specification_knows_the_paths(kind: str, shared: Path) -> None:
    found = json.loads((shared / f"ebay/specs/post-order-community/{kind}_oas3.json").read_text())["paths"]
    assert "get" in found[f"/{FOLDERS[kind]}/search"]
    assert "get" in found[f"/{FOLDERS[kind]}/{{{IDS[kind]}}}"]
