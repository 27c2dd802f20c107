"""transactions: the seller's money in and out, one row each, for those who need no fees (getTransactions)."""

from __future__ import annotations

from ebaysync.families import finances
from ebaysync.families.family import Family, WindowSpec
from ebaysync.families.finances import reference
from ebaysync.store.table import TIME, Column, Table

TRANSACTIONS = Table(
    "ebay_transactions",
    key=("transaction_id", "transaction_type"),
    twins=finances.TWINS,
    columns=(
        Column("transaction_id", required=True),
        Column("transaction_type", required=True),
        Column("transaction_date", TIME, required=True),
        Column("transaction_status"),
        Column("booking_entry"),
        *finances.AMOUNT,
        Column("order_id", path=f"orderId|{reference('ORDER_ID')}"),
        Column("buyer_username", path="buyer.username", private=True),
        Column("payout_id"),
        Column("transaction_memo"),
    ),
)

FAMILY = Family(
    name="transactions",
    about="monetary transactions, one line each",
    source="transactions",
    calls=finances.CALLS,
    every_minutes=15,
    quiet_minutes=30,
    costs={"finances": 1},
    cursor_type="window",
    scopes=finances.SCOPES,
    tables=(TRANSACTIONS,),
    window=WindowSpec(
        "transaction_date",
        furthest_reach=finances.FURTHEST,
        overlap=finances.OVERLAP,
        sweep=finances.SWEEP,
        widest=finances.WIDEST,
    ),
)
