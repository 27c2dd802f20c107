"""buyer: what the account itself bids on, makes offers for, has won or lost (Trading GetMyeBayBuying).

How eBay behaves, and this module copes:

- It shows the last 60 days, and older entries simply disappear: absence deletes nothing.
- Won lines come alone or within orders. The transaction is 0 for an auction, and unknown during a bid or offer. The
  line stays one row, whose list changes, when the real transaction comes.
- Several offers for one item come together, without ids; their amounts tell them apart.
- PictureDetails and the seller's feedback change by themselves.
"""

from __future__ import annotations

from datetime import timedelta

from ebaysync.families.family import Family, WindowSpec
from ebaysync.store.table import INTEGER, TIME, Column, Row, Table, Twins, xml_money

NO_TRANSACTION = "0"


def transaction_id(row: Row) -> str:
    """TransactionID, or the end of the OrderLineItemID (ItemID-TransactionID), or 0."""
    found: str = row["transaction_id"] or (row["order_line_item_id"] or "").partition("-")[2]
    return found or NO_TRANSACTION


def either(*names: str) -> str:
    """The path of a field in an item by itself, or in a transaction's item."""
    return "|".join(f"{way}.{name}" for name in names for way in ("Transaction.Item", "Item"))


PURCHASES = Table(
    "ebay_buyer",
    key=("item_id", "transaction_id"),
    stand_in=("transaction_id", NO_TRANSACTION),
    twins=Twins(
        "transaction_id",
        always=("created_date",),
        in_one_answer=("best_offer", "best_offer_currency", "order_id"),
        place="list",
    ),
    volatile=tuple(
        (*way, *path)
        for way in (("Item",), ("Transaction", "Item"))
        for path in (
            ("TimeLeft",),
            ("WatchCount",),
            ("HitCount",),
            ("PictureDetails",),
            ("SellingStatus", "ConvertedCurrentPrice"),
            ("ListingDetails", "ConvertedStartPrice"),
            ("ListingDetails", "ConvertedBuyItNowPrice"),
            ("Seller", "FeedbackScore"),
            ("Seller", "PositiveFeedbackPercent"),
            ("Seller", "FeedbackRatingStar"),
        )
    ),
    columns=(
        Column("item_id", path=either("ItemID"), required=True),
        Column("transaction_id", path="Transaction.TransactionID", derived=transaction_id),
        Column("list", path="List", required=True),
        Column("order_id", path="Order.OrderID"),
        Column("order_line_item_id", path="Transaction.OrderLineItemID"),
        Column("title", path=either("Title")),
        Column("seller_user_id", path=f"Transaction.Seller.UserID|{either('Seller.UserID')}", private=True),
        Column("listing_type", path=either("ListingType")),
        *xml_money("current_price", either("SellingStatus.CurrentPrice")),
        *xml_money("max_bid", either("BiddingDetails.MaxBid")),
        *xml_money("best_offer", either("BestOfferDetails.BestOffer")),
        Column("best_offer_status", path=either("BestOfferDetails.BestOfferStatus")),
        *xml_money("transaction_price", "Transaction.TransactionPrice"),
        *xml_money("total_price", "Transaction.TotalPrice|Transaction.TotalTransactionPrice"),
        Column("quantity_purchased", INTEGER, "Transaction.QuantityPurchased"),
        Column("buyer_paid_status", path="Transaction.BuyerPaidStatus"),
        Column("paid_time", TIME, "Transaction.PaidTime"),
        Column("shipped_time", TIME, "Transaction.ShippedTime"),
        Column("created_date", TIME, "Transaction.CreatedDate"),
        Column("end_time", TIME, either("ListingDetails.EndTime")),
    ),
)

FAMILY = Family(
    name="buyer",
    about="bids, offers, and what was won or lost",
    source="buyer",
    calls="Trading GetMyeBayBuying",
    every_minutes=60,
    quiet_minutes=1440,
    costs={"trading.GetMyeBayBuying": 1},
    # Not a snapshot: what is older than 60 days is gone from eBay's list, but was bought all the same.
    cursor_type="rolling",
    scopes=("https://api.ebay.com/oauth/api_scope",),
    tables=(PURCHASES,),
    window=WindowSpec(first_reach=timedelta(days=60), furthest_reach=timedelta(days=60)),
)
