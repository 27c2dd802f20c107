"""Trading API: GetMyeBaySelling and GetSellerList.

Sources: the WSDL with its CallInfo (which field comes in which list, at which detail), eBay's page and sample of
GetMyeBaySelling, and the knowledge base on Good 'Til Cancelled listings that come twice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary
from zlib import crc32

from ebaysync.sim.apis.trading_lists import asked, cut, days, page, recent
from ebaysync.sim.apis.trading_requests import Request
from ebaysync.sim.apis.trading_user import SITES, user
from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.kinds.listings import AUCTION, AUCTION_DAYS, ends, facts, last_body, renewals, rolls, starts, total
from ebaysync.sim.model import Seller, Thing
from ebaysync.sim.trading_xml import BAD_INPUT, Failed, answer, box, duration, money, pagination, tag
from ebaysync.sim.world import World

RANGE = timedelta(days=120)
FOREVER = timedelta(days=36_500)
MOST_KEPT = 8


@dataclass(slots=True)
class Shelf:
    """A seller's listings as they were sorted out last: good until something happens to one, or until an auction ends
    or a scheduled listing begins. `sorted` holds orders of them, each good until its own moment."""

    mark: tuple[int, int]
    until: datetime
    lists: dict[str, list[Thing]]
    sorted: dict[tuple[Any, ...], tuple[datetime, list[Any]]] = field(default_factory=dict)

    def keep(self, key: tuple[Any, ...], now: datetime, make: Callable[[], tuple[datetime, list[Any]]]) -> list[Any]:
        if key not in self.sorted or self.sorted[key][0] <= now:
            if len(self.sorted) >= MOST_KEPT:
                self.sorted.clear()
            self.sorted[key] = make()
        return self.sorted[key][1]


_shelves: WeakKeyDictionary[World, dict[str, Shelf]] = WeakKeyDictionary()


def shelf(world: World, seller: Seller, now: datetime) -> Shelf:
    things = seller.things.get("listing", {})
    mark = (len(things), seller.happened)
    mine = _shelves.setdefault(world, {})
    found = mine.get(seller.user_id)
    if found is None or found.mark != mark or now >= found.until:
        found = mine[seller.user_id] = _sort_out(things.values(), mark, now)
    return found


def _sort_out(things: Iterable[Thing], mark: tuple[int, int], now: datetime) -> Shelf:
    lists: dict[str, list[Thing]] = {"ActiveList": [], "ScheduledList": [], "ended": []}
    until = now + FOREVER
    for thing in things:
        if thing.body is None:
            lists["ended"].append(thing)
        elif starts(thing) > now:
            lists["ScheduledList"].append(thing)
            until = min(until, starts(thing))
        elif rolls(thing):
            lists["ActiveList"].append(thing)
        elif (end := ends(thing, now)) > now:
            lists["ActiveList"].append(thing)
            until = min(until, end)
        else:
            lists["ended"].append(thing)
    return Shelf(mark, until, lists)


# Fields by which a list can be sorted. With any other, or without Sort, it is sorted by start.
SORTS: dict[str, Callable[[Thing, datetime], Any]] = {
    "ItemID": lambda thing, now: (len(thing.id), thing.id),
    "StartTime": lambda thing, now: starts(thing),
    "EndTime": ends,
    "TimeLeft": ends,
    "Price": lambda thing, now: last_body(thing).get("price", 0),
    "CurrentPrice": lambda thing, now: last_body(thing).get("price", 0),
    "StartPrice": lambda thing, now: last_body(thing).get("price", 0),
    "Title": lambda thing, now: facts(thing.id, last_body(thing))["title"],
    "Quantity": lambda thing, now: total(facts(thing.id, last_body(thing)), "quantity"),
    "QuantitySold": lambda thing, now: total(facts(thing.id, last_body(thing)), "sold"),
    "WatchCount": lambda thing, now: facts(thing.id, last_body(thing))["watchers"],
    "BidCount": lambda thing, now: last_body(thing).get("bids", 0),
}


def _sorted(kept: Shelf, name: str, sort: str, now: datetime) -> list[Thing]:
    """Ascending by the asked field ("Default is Ascending"); by which one without Sort is not documented."""
    field_name = sort.removesuffix("Descending")
    by = SORTS.get(field_name, SORTS["StartTime"])

    def make() -> tuple[datetime, list[Any]]:
        rows = sorted(((by(thing, now), thing.id, thing) for thing in kept.lists[name]), key=lambda row: row[:2])
        until = rows[0][0] if by is ends and rows and name != "ended" else now + FOREVER
        things = [thing for _, _, thing in rows]
        return until, things[::-1] if sort.endswith("Descending") else things

    return kept.keep((name, sort), now, make)


def get_my_ebay_selling(world: World, seller: Seller, call: Call, request: Request) -> Answer:
    kept, rows = shelf(world, seller, call.now), list[tuple[str, int]]()
    content = [_summary(kept, seller)] if asked(request, "SellingSummary") else []
    lists = [name for name in ("ScheduledList", "ActiveList", "SoldList", "UnsoldList") if asked(request, name)]
    content += [_list(world, seller, call, request, kept, name, rows) for name in lists]
    return answer(request.call, call.now, "".join(content), rows)


def _list(
    world: World, seller: Seller, call: Call, request: Request, kept: Shelf, name: str, rows: list[tuple[str, int]]
) -> str:
    if name == "SoldList":
        return _sold(world, seller, call, request, rows)
    sort, wanted = request.text(f"{name}.Sort"), page(request, f"{name}.", 25)
    if name == "UnsoldList":
        found = _unsold(kept, request, call.now)
    else:
        found = _of_type(_sorted(kept, name, sort, call.now), request.text(f"{name}.ListingType"))
    if not found:
        return ""
    some, count, entries = cut(found, wanted, capped=True)
    notes, hide = request.flag(f"{name}.IncludeNotes"), request.flag("HideVariations")
    items = [my_item(world, seller, thing, call.now, name, notes=notes, hide=hide) for thing in some]
    rows += [(thing.id, thing.version) for thing in some]
    return box(name, box("ItemArray", *items), pagination(count, entries))


def _of_type(things: list[Thing], wanted: str) -> list[Thing]:
    """Auction, or FixedPriceItem; "Auction" is the filter's word for Chinese."""
    if wanted not in ("Auction", "Chinese", "FixedPriceItem"):
        return things
    return [t for t in things if (last_body(t).get("type") == AUCTION) == (wanted != "FixedPriceItem")]


def _unsold(kept: Shelf, request: Request, now: datetime) -> list[Thing]:
    most = days(request, "UnsoldList")
    ended = [thing for thing in _sorted(kept, "ended", "EndTime", now) if recent(now, ends(thing, now), most)]
    return [t for t in ended if not last_body(t).get("bids") and not total(facts(t.id, last_body(t)), "sold")]


@dataclass(frozen=True, slots=True)
class Sale:
    thing: Thing
    version: int
    at: datetime
    number: int


def _sales(seller: Seller, now: datetime, most: int) -> list[Sale]:
    """The history of sales: each version that sold more, and auctions that ended with a bid."""
    found = []
    for thing in seller.things.get("listing", {}).values():
        body = last_body(thing)
        if body.get("type") == AUCTION:
            if body.get("bids") and recent(now, ends(thing, now), most) and ends(thing, now) <= now:
                found.append(Sale(thing, thing.version, ends(thing, now), 0))
            continue
        for number, version in enumerate(thing.versions[1:], start=2):
            before, after = thing.versions[number - 2].body, version.body
            if before and after and recent(now, version.at, most):
                more = total(facts(thing.id, after), "sold") - total(facts(thing.id, before), "sold")
                found += [Sale(thing, number, version.at, number * 10 + n) for n in range(1, max(0, more) + 1)]
    return sorted(found, key=lambda sale: (sale.at, sale.thing.id, sale.number))


def _sold(world: World, seller: Seller, call: Call, request: Request, rows: list[tuple[str, int]]) -> str:
    wanted = page(request, "SoldList.", 25)
    sales = _sales(seller, call.now, days(request, "SoldList"))
    if not sales:
        return ""
    some, count, entries = cut(sales, wanted, capped=True)
    rows += [(sale.thing.id, sale.version) for sale in some]
    texts = [box("OrderTransaction", _transaction(world, seller, sale, call.now)) for sale in some]
    return box("SoldList", box("OrderTransactionArray", *texts), pagination(count, entries))


def _transaction(world: World, seller: Seller, sale: Sale, now: datetime) -> str:
    price, currency = facts(sale.thing.id, last_body(sale.thing))["price"], seller.market.currency
    number = 10_000_000_000_000 + sale.number if sale.number else 0  # "always 0" for auctions
    return box(
        "Transaction",
        box("Buyer", tag("UserID", f"buyer_{crc32(sale.thing.id.encode()) % 9973 + sale.number}")),
        tag("CreatedDate", sale.at),
        my_item(world, seller, sale.thing, now, "SoldList", notes=False, hide=False),
        tag("QuantityPurchased", 1),
        tag("TransactionID", number),
        tag("SellerPaidStatus", "Paid"),
        tag("PaidTime", sale.at),
        money("TotalPrice", price + 499, currency),
        money("TotalTransactionPrice", price, currency),
        tag("OrderLineItemID", f"{sale.thing.id}-{number}"),
    )


def _summary(kept: Shelf, seller: Seller) -> str:
    auctions = [last_body(t) for t in kept.lists["ActiveList"] if last_body(t).get("type") == AUCTION]
    value = sum(body["price"] for body in auctions)
    return box(
        "SellingSummary",
        tag("ActiveAuctionCount", sum(1 for body in auctions if body.get("bids"))),
        tag("AuctionSellingCount", len(auctions)),
        money("TotalAuctionSellingValue", value, seller.market.currency),
        tag("TotalSoldCount", 0),
        money("TotalSoldValue", 0, seller.market.currency),
        tag("SoldDurationInDays", 31),
    )


def my_item(world: World, seller: Seller, thing: Thing, now: datetime, where: str, *, notes: bool, hide: bool) -> str:
    """An Item of GetMyeBaySelling; TimeLeft, WatchCount and ConvertedCurrentPrice differ at every call."""
    listing, currency, end = facts(thing.id, last_body(thing)), seller.market.currency, ends(thing, now)
    auction, over = listing["type"] == AUCTION, where in ("SoldList", "UnsoldList")
    quantity, watchers = total(listing, "quantity"), listing["watchers"] and listing["watchers"] + world.asked % 5
    details = [tag("StartTime", starts(thing)), tag("EndTime", end) if over else ""]
    return box(
        "Item",
        money("BuyItNowPrice", listing["price"], currency) if not auction else "",
        tag("ItemID", thing.id),
        box("ListingDetails", *details, tag("ViewItemURL", f"https://www.ebay.example/itm/{thing.id}")),
        tag("ListingDuration", f"Days_{AUCTION_DAYS}" if auction else "GTC") if where != "SoldList" else "",
        tag("ListingType", listing["type"]),
        tag("Quantity", quantity),
        tag("PrivateNotes", listing["notes"]) if notes and listing["notes"] else "",
        money("ReservePrice", 0, currency) if auction else "",
        _selling_status(world, listing, currency, auction),
        money("StartPrice", listing["price"], currency),
        tag("TimeLeft", duration(end - now)),
        tag("Title", listing["title"]),
        tag("WatchCount", watchers) if watchers and not over else "",
        tag("QuestionCount", listing["questions"]) if listing["questions"] else "",
        tag("QuantityAvailable", quantity - total(listing, "sold")) if not auction else "",
        tag("SKU", listing["sku"]) if listing["sku"] else "",
        box("PictureDetails", tag("GalleryURL", listing["picture"])),
        variations(listing, currency) if not hide else "",
        _profiles(listing) if not over else "",
    )


def _selling_status(world: World, listing: Mapping[str, Any], currency: str, auction: bool) -> str:
    converted = int(listing["price"] * listing["converted"]) + world.asked % 7
    return box(
        "SellingStatus",
        tag("BidCount", listing["bids"]) if auction else "",
        money("ConvertedCurrentPrice", converted, "USD"),
        money("CurrentPrice", listing["price"], currency),
        tag("QuantitySold", total(listing, "sold")) if not auction else "",
        tag("ReserveMet", True) if auction else "",
    )


def _profiles(listing: Mapping[str, Any]) -> str:
    profile = tag("ShippingProfileID", listing["profile"]) + tag("ShippingProfileName", "Standard & Express")
    return box("SellerProfiles", box("SellerShippingProfile", profile))


def variations(listing: Mapping[str, Any], currency: str) -> str:
    return (
        box("Variations", *(_variation(row, currency) for row in listing["variations"]))
        if listing["variations"]
        else ""
    )


def _variation(row: Mapping[str, Any], currency: str) -> str:
    specifics = [
        box("NameValueList", tag("Name", name), tag("Value", value)) for name, value in row["specifics"].items()
    ]
    return box(
        "Variation",
        tag("SKU", row["sku"]) if row.get("sku") else "",
        money("StartPrice", row["price"], currency),
        tag("Quantity", row["quantity"]),
        box("VariationSpecifics", *specifics),
        box("SellingStatus", tag("QuantitySold", row["sold"])),
    )


def get_seller_list(world: World, seller: Seller, call: Call, request: Request) -> Answer:
    """Raises Failed: no range of times, or one too wide."""
    name, start, end = _range(request)
    if "Pagination.EntriesPerPage" not in request.values:
        raise Failed(BAD_INPUT, "Pagination.EntriesPerPage")
    wanted, down = page(request, "", 25), request.number("Sort", 2) == 1
    if request.number("Sort", 2) not in (1, 2):
        raise Failed(BAD_INPUT, "Sort")
    found = _in_range(shelf(world, seller, call.now), name, start, end, call.now, down)
    found = _filtered(found, request)
    some, count, entries = cut(found, wanted)
    level = _level(request)
    items = [_listed_item(world, seller, thing, at, call.now, request, level) for thing, at in some]
    content = pagination(count, entries) + tag("HasMoreItems", wanted.number < count) + box("ItemArray", *items)
    content += tag("ItemsPerPage", wanted.size) + tag("PageNumber", wanted.number)
    content += tag("ReturnedItemCountActual", len(items)) + (user("Seller", seller) if level == "Fine" else "")
    return answer(request.call, call.now, content, [(thing.id, thing.version) for thing, _ in some])


def _range(request: Request) -> tuple[str, datetime, datetime]:
    """The end-time range, or the start-time range; each less than 120 days."""
    for name in ("EndTime", "StartTime"):
        start, end = request.time(f"{name}From"), request.time(f"{name}To")
        if start and end:
            if not timedelta() <= end - start < RANGE:
                raise Failed(BAD_INPUT, f"{name}To")
            return name, start, end
        if start or end:
            raise Failed(BAD_INPUT, f"{name}To" if start else f"{name}From")
    raise Failed(BAD_INPUT, "StartTimeFrom")


def _in_range(
    kept: Shelf, name: str, start: datetime, end: datetime, now: datetime, down: bool
) -> list[tuple[Thing, datetime]]:
    """Rows by their end. A range that spans several months finds a Good 'Til Cancelled listing at each of its ends."""
    last = _by_end(kept, now)
    if name == "EndTime" and start >= now:
        first = bisect_left(last, start, key=lambda row: row[1])
        rows = last[first : bisect_right(last, end, key=lambda row: row[1])]
        return rows[::-1] if down else rows

    def make() -> tuple[datetime, list[Any]]:
        if name == "StartTime":
            rows = [(thing, at) for thing, at in last if start <= starts(thing) <= end]
        else:
            rows = [(thing, at) for thing, _ in last for at in renewals(thing, now) if start <= at <= end]
        rows.sort(key=lambda row: (row[1], row[0].id), reverse=down)
        return _next_end(last, now), rows

    return kept.keep((name, start, end, down), now, make)


def _by_end(kept: Shelf, now: datetime) -> list[tuple[Thing, datetime]]:
    """Every listing with its last or next end, in their order."""

    def make() -> tuple[datetime, list[Any]]:
        rows = [(thing, ends(thing, now)) for some in kept.lists.values() for thing in some]
        rows.sort(key=lambda row: (row[1], row[0].id))
        return _next_end(rows, now), rows

    return kept.keep(("ends",), now, make)


def _next_end(rows: list[tuple[Thing, datetime]], now: datetime) -> datetime:
    return min((at for _, at in rows if at > now), default=now + FOREVER)


def _filtered(rows: list[tuple[Thing, datetime]], request: Request) -> list[tuple[Thing, datetime]]:
    skus, category = set(request.values.get("SKUArray.SKU", ())), request.number("CategoryID", 0)
    if request.flag("AdminEndedItemsOnly"):
        return []
    if not skus and not category:
        return rows
    found = ((row, facts(row[0].id, last_body(row[0]))) for row in rows)
    return [
        row for row, listing in found if (not skus or _skus(listing) & skus) and category in (0, listing["category"])
    ]


def _skus(listing: Mapping[str, Any]) -> set[str]:
    return {listing["sku"], *(variation.get("sku") for variation in listing["variations"] or ())} - {None}


def _level(request: Request) -> str:
    """Coarse, Medium or Fine; All where DetailLevel asks for everything and GranularityLevel does not overrule it."""
    levels = request.values.get("DetailLevel", [])
    full = "ReturnAll" in levels or "ItemReturnDescription" in levels
    return request.text("GranularityLevel") or ("All" if full else "Coarse")


def _listed_item(
    world: World, seller: Seller, thing: Thing, end: datetime, now: datetime, request: Request, level: str
) -> str:
    """An Item of GetSellerList; which fields a level brings: the WSDL's CallInfo."""
    listing, currency = facts(thing.id, last_body(thing)), seller.market.currency
    full, auction, running = level == "All", listing["type"] == AUCTION, end > now
    details = tag("StartTime", starts(thing)) + tag("EndTime", end)
    return box(
        "Item",
        money("BuyItNowPrice", 0 if auction else listing["price"], currency) if level != "Coarse" else "",
        tag("Country", seller.market.country) if level in ("Coarse", "All") else "",
        tag("Currency", currency),
        tag("ItemID", thing.id),
        box("ListingDetails", details, tag("ViewItemURL", f"https://www.ebay.example/itm/{thing.id}")),
        tag("ListingDuration", f"Days_{AUCTION_DAYS}" if auction else "GTC") if full else "",
        tag("ListingType", listing["type"]) if full else "",
        tag("Location", "Somewhere & elsewhere"),
        box("PrimaryCategory", tag("CategoryID", listing["category"]), tag("CategoryName", "Home & Garden:Other")),
        tag("Quantity", total(listing, "quantity")),
        _listed_status(world, listing, currency, auction, running) if level in ("Fine", "All") else "",
        tag("Site", SITES[seller.market.country]),
        money("StartPrice", listing["price"], currency) if level in ("Fine", "All") else "",
        tag("TimeLeft", duration(end - now)),
        tag("Title", listing["title"]),
        tag("WatchCount", listing["watchers"]) if request.flag("IncludeWatchCount") and listing["watchers"] else "",
        tag("SKU", listing["sku"]) if full and listing["sku"] else "",
        box("PictureDetails", tag("GalleryURL", listing["picture"])) if full else "",
        variations(listing, currency) if request.flag("IncludeVariations") else "",
        _profiles(listing) if full else "",
    )


def _listed_status(world: World, listing: Mapping[str, Any], currency: str, auction: bool, running: bool) -> str:
    status = _selling_status(world, listing, currency, auction).removesuffix("</SellingStatus>")
    return status + tag("ListingStatus", "Active" if running else "Completed") + "</SellingStatus>"
