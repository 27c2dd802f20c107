"""Trading API: GetMyeBayBuying.

Sources: the WSDL with its CallInfo; replies in others' fixtures for empty lists, which are absent, close themselves or
count nought. Nothing older than 60 days can be had.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from ebaysync.sim.apis.trading_lists import MOST_PER_PAGE, asked, cut, days, page, recent
from ebaysync.sim.apis.trading_requests import Request
from ebaysync.sim.calls import Answer, Call
from ebaysync.sim.kinds.purchases import auction_end, facts, flagged_at, standing
from ebaysync.sim.model import Body, Seller, Thing
from ebaysync.sim.trading_xml import answer, box, duration, money, pagination, tag
from ebaysync.sim.world import World

STATES = {
    "BidList": ("bid", False),
    "BestOfferList": ("offer", False),
    "WonList": ("won", False),
    "LostList": ("lost", False),
    "DeletedFromWonList": ("won", True),
    "DeletedFromLostList": ("lost", True),
}
WON = ("WonList", "DeletedFromWonList")
EMPTY = {"WonList": "<WonList/>", "LostList": box("LostList", pagination(0, 0))}


@dataclass(frozen=True, slots=True)
class Row:
    thing: Thing
    since: datetime
    facts: Body


def get_my_ebay_buying(world: World, seller: Seller, call: Call, request: Request) -> Answer:
    content, rows = "", list[tuple[str, int]]()
    if asked(request, "BuyingSummary"):
        content += _summary(seller, call.now)
    if asked(request, "WatchList"):
        page(request, "WatchList.", MOST_PER_PAGE)  # nothing is watched
    for name in STATES:
        if asked(request, name):
            content += _list(world, seller, call.now, request, name, rows)
    return answer(request.call, call.now, content, rows)


def _list(world: World, seller: Seller, now: datetime, request: Request, name: str, rows: list[tuple[str, int]]) -> str:
    wanted, most = page(request, f"{name}.", MOST_PER_PAGE), days(request, name)
    found = _rows(seller, now, name, most)
    if request.text(f"{name}.Sort").endswith("Descending"):
        found.reverse()
    if not found:
        return EMPTY.get(name, "")
    if name in WON:
        groups = _grouped(world.quirks.won_shape, found)
        some, count, _ = cut(groups, wanted)
        rows += [(row.thing.id, row.thing.version) for group in some for row in group]
        texts = [_order_transaction(world.quirks.won_shape, group, now) for group in some]
        return box(name, box("OrderTransactionArray", *texts), pagination(count, len(found)))
    items, count, entries = cut(found, wanted)
    rows += [(row.thing.id, row.thing.version) for row in items]
    return box(name, box("ItemArray", *(_item(world, row, name, now) for row in items)), pagination(count, entries))


def _rows(seller: Seller, now: datetime, name: str, most: int) -> list[Row]:
    """Auctions by their end. Running bids have no range of days."""
    state, removed = STATES[name]
    found = []
    for thing in seller.things.get("purchase", {}).values():
        is_now, since = standing(thing, now)
        if is_now == state and (name == "BidList" or recent(now, since, most)):
            row = Row(thing, since, facts(thing))
            if row.facts["removed"] is removed:
                found.append(row)
    return sorted(found, key=lambda row: (_end(row), row.thing.id))


def _end(row: Row) -> datetime:
    return min(auction_end(row.thing), row.since) if row.facts["state"] in ("won", "lost") else auction_end(row.thing)


def _order_of(row: Row) -> str:
    """Items won from one seller on one day are one order."""
    key = f"{row.facts['shop']}/{row.since:%Y-%m-%d}"
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big")
    return f"{number % 27 + 1:02d}-{number // 27 % 100_000:05d}-{number // 2_700_000 % 100_000:05d}"


def _in_order(shape: str, row: Row) -> bool:
    return shape == "order" or (shape == "mixed" and int(_order_of(row)[-1]) % 2 == 0)


def _grouped(shape: str, rows: list[Row]) -> list[list[Row]]:
    """OrderTransactions: a won line alone, or with the others of its order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_order_of(row) if _in_order(shape, row) else row.thing.id, []).append(row)
    return list(groups.values())


def _order_transaction(shape: str, rows: list[Row], now: datetime) -> str:
    lines = [_transaction(row, now) for row in rows]
    if not _in_order(shape, rows[0]):
        return box("OrderTransaction", *lines)
    currency, total = rows[0].facts["currency"], sum(_price(row) for row in rows)
    order = tag("OrderID", _order_of(rows[0])) + money("Subtotal", total, currency)
    return box("OrderTransaction", box("Order", order, box("TransactionArray", *lines)))


def _price(row: Row) -> int:
    price: int = row.facts["price"] * row.facts["quantity"]
    return price


def _transaction(row: Row, now: datetime) -> str:
    won = row.facts
    return box(
        "Transaction",
        tag("CreatedDate", row.since),
        _won_item(row),
        tag("QuantityPurchased", won["quantity"]),
        tag("TransactionID", won["transaction"]),
        tag("BuyerPaidStatus", "Paid" if won["paid"] else "NotPaid"),
        tag("PaidTime", flagged_at(row.thing, "paid", now)) if won["paid"] else "",
        tag("ShippedTime", flagged_at(row.thing, "shipped", now)) if won["shipped"] else "",
        money("TotalPrice", _price(row) + won["shipping"], won["currency"]),
        money("TotalTransactionPrice", _price(row), won["currency"]),
        tag("OrderLineItemID", f"{won['item']}-{won['transaction']}"),
    )


def _won_item(row: Row) -> str:
    won = row.facts
    cost = box("ShippingServiceOptions", money("ShippingServiceCost", won["shipping"], won["currency"]))
    return box(
        "Item",
        tag("ItemID", won["item"]),
        box("ListingDetails", tag("StartTime", row.thing.created), tag("EndTime", _end(row))),
        tag("ListingType", "Chinese" if won["auction"] else "FixedPriceItem"),
        box("Seller", tag("UserID", won["shop"])),
        box("SellingStatus", money("CurrentPrice", won["price"], won["currency"])),
        box("ShippingDetails", cost),
        tag("Site", "US"),
        tag("Title", won["title"]),
        box("PictureDetails", tag("GalleryURL", f"https://i.ebayimg.com/{won['item']}.jpg?a=1&b=2")),
    )


def _item(world: World, row: Row, where: str, now: datetime) -> str:
    """A bid, an offer, or what was lost."""
    item, currency, lost = row.facts, row.facts["currency"], row.facts["state"] == "lost" or where == "LostList"
    offer = where == "BestOfferList"
    end = tag("EndTime", _end(row)) if not offer else ""
    return box(
        "Item",
        _bidding(row, where) if not offer else "",
        money("BuyItNowPrice", item["max"], currency) if offer else "",
        tag("ItemID", item["item"]),
        box("ListingDetails", tag("StartTime", row.thing.created), end),
        tag("ListingType", "Chinese" if item["auction"] else "FixedPriceItem") if not offer else "",
        box("Seller", tag("UserID", item["shop"])),
        box(
            "SellingStatus",
            tag("BidCount", row.thing.version) if item["auction"] else "",
            money("ConvertedCurrentPrice", item["price"] + world.asked % 7, "USD"),
            money("CurrentPrice", item["price"], currency),
        ),
        tag("Site", "US"),
        tag("TimeLeft", duration(auction_end(row.thing) - now)) if not lost else "",
        tag("Title", item["title"]),
        _offer(row) if offer else "",
        box("PictureDetails", tag("GalleryURL", f"https://i.ebayimg.com/{item['item']}.jpg?a=1&b=2")),
    )


def _bidding(row: Row, where: str) -> str:
    return box(
        "BiddingDetails",
        money("MaxBid", row.facts["max"], row.facts["currency"]),
        tag("QuantityBid", 1),
        tag("QuantityWon", 0),
        tag("Winning", row.facts["winning"]) if where == "BidList" else "",
    )


def _offer(row: Row) -> str:
    amount = money("BestOffer", row.facts["price"], row.facts["currency"])
    return box("BestOfferDetails", amount, tag("BestOfferStatus", "Pending"))


def _summary(seller: Seller, now: datetime) -> str:
    bids, won = _rows(seller, now, "BidList", 60), _rows(seller, now, "WonList", 31)
    winning = [row for row in bids if row.facts["winning"]]
    return box(
        "BuyingSummary",
        tag("BiddingCount", len(bids)),
        tag("WinningCount", len(winning)),
        money("TotalWinningCost", sum(_price(row) for row in winning), "USD"),
        tag("WonCount", len(won)),
        money("TotalWonCost", sum(_price(row) for row in won), "USD"),
        tag("WonDurationInDays", 31),
        tag("BestOfferCount", len(_rows(seller, now, "BestOfferList", 31))),
    )
