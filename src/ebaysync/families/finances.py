"""finances: every monetary transaction, with its fees (Finances getTransactions).

How eBay behaves, and this module copes:

- A transactionId is unique only together with its transactionType: a SALE's is its order's id. Even then a second
  transaction may come, as when a label is bought and voided under one id. Its date or booking differs.
- Amounts are positive, and bookingEntry has the sign: here a DEBIT is negative.
- A fee names its order in `references`, not in orderId. A fee charged by itself is a transaction with a feeType.
- transactionStatus and payoutId change weeks later, and no filter shows it: hence the sweep.
- The specification says eBayCollectedTaxAmount, real answers say ebayCollectedTaxAmount.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from ebaysync.families.decoder import LONGEST_KEY, Unusable
from ebaysync.families.family import Family, WindowSpec
from ebaysync.store.table import NUMERIC, TIME, Column, Row, Table, Twins, money

SCOPES = ("https://api.ebay.com/oauth/api_scope/sell.finances",)
CALLS = "Finances getTransactions"
# Nobody could verify how late a transaction may be listed with an earlier time.
OVERLAP = timedelta(hours=24)
# In a real answer, payoutId came up to seven weeks after the transaction.
SWEEP = timedelta(days=90)
FURTHEST = timedelta(days=5 * 365)  # "up to five years"
WIDEST = timedelta(days=90)


def signed(name: str) -> Any:
    """That column's value, negative for a DEBIT, also if eBay sends it with a minus."""

    def amount_of(row: Row) -> Decimal | None:
        amount: Decimal | None = row[name]
        return -abs(amount) if amount and row["booking_entry"] == "DEBIT" else amount

    return amount_of


def reference(kind: str) -> str:
    return f"references[referenceType={kind}].referenceId"


class _Type(msgspec.Struct, rename="camel"):
    transaction_type: str | None = None


def of_type(kind: str) -> Callable[[bytes], bool]:
    """For `own_records`: whether a transaction has this type, such as REFUND.

    False for one that cannot be read: the family finances, which reads all of them, reports it.
    """

    def is_of_type(record: bytes) -> bool:
        try:
            return msgspec.json.decode(record, type=_Type).transaction_type == kind
        except (ValueError, RecursionError):
            return False

    return is_of_type


TWINS = Twins("transaction_id", always=("transaction_date", "booking_entry"))
AMOUNT = (
    # The amount of a SALE is what is left after fees. totalFeeBasisAmount has the sum before them.
    Column("amount", NUMERIC, "amount.value", derived=signed("amount")),
    Column("amount_currency", path="amount.currency"),
    Column("amount_converted_from", NUMERIC, "amount.convertedFromValue", derived=signed("amount_converted_from")),
    Column("amount_converted_from_currency", path="amount.convertedFromCurrency"),
    # The amount is in the payout's currency, the fees are in the listing's.
    Column("exchange_rate", NUMERIC, "amount.exchangeRate"),
)

TRANSACTIONS = Table(
    "ebay_finances_transactions",
    key=("transaction_id", "transaction_type"),
    twins=TWINS,
    columns=(
        Column("transaction_id", required=True),
        Column("transaction_type", required=True),
        Column("transaction_date", TIME, required=True),
        Column("transaction_status"),
        Column("booking_entry"),
        *AMOUNT,
        *money("total_fee_amount"),
        *money("total_fee_basis_amount"),
        *money("ebay_collected_tax_amount", "ebayCollectedTaxAmount|eBayCollectedTaxAmount"),
        Column("fee_type"),
        Column("order_id", path=f"orderId|{reference('ORDER_ID')}"),
        Column("item_id", path=reference("ITEM_ID")),
        Column("case_id", path=reference("CASE_ID")),
        Column("payment_dispute_id", path=reference("PAYMENTS_DISPUTE_ID")),
        Column("cancellation_id", path=reference("CANCELLATION_ID")),
        Column("return_id", path=reference("RETURN_ID")),
        Column("buyer_username", path="buyer.username", private=True),
        Column("payout_id"),
        Column("transaction_memo"),
        Column("payments_entity"),
        # Always "0" in the real answers that were seen.
        Column("sales_record_reference"),
    ),
)


class _Charged(msgspec.Struct, rename="camel"):
    order_line_items: list[Any] | None = None
    fee_type: Any = None
    amount: Any = msgspec.UNSET
    fee_jurisdiction: Any = msgspec.UNSET
    transaction_memo: Any = None


_read = msgspec.json.Decoder(_Charged, float_hook=Decimal).decode


def fee_lines(record: bytes) -> Sequence[bytes]:
    """The fees of each line item, and the transaction itself if it is a fee.

    A line's key is the line item, the fee type and, if that comes several times, its number, so that a line that
    disappears does not rename the others. Anything else in a fee's place is returned too: the decoder refuses it.
    Raises ValueError if the line items are no list, or one has an id that is too long to be repeated in each fee.
    """
    found = _read(record)
    parts = [part for item in found.order_line_items or () if item is not None for part in _fees_of(item)]
    if found.fee_type:
        own = {"feeType": found.fee_type, "amount": found.amount, "feeJurisdiction": found.fee_jurisdiction}
        told = {name: value for name, value in own.items() if value is not msgspec.UNSET}
        parts.append(told | {"feeMemo": found.transaction_memo})
    seen: Counter[str] = Counter()
    for fee in parts:
        if isinstance(fee, dict):
            name = f"{fee.get('lineItemId') or '-'}/{fee.get('feeType') or '-'}"
            seen[name] += 1
            fee["feeLine"] = name if seen[name] == 1 else f"{name}/{seen[name]}"
    encode = msgspec.json.Encoder(decimal_format="number").encode
    return [encode(fee) for fee in parts]


def _fees_of(item: Any) -> list[Any]:
    """The fees of a line item, each with its id; or what stands in the place of a line item, of its fees, or of one."""
    fees = item.get("marketplaceFees") if isinstance(item, dict) else item
    if not isinstance(fees, list):
        # Not left out: the decoder refuses what is no fee, and notes it.
        return [] if fees is None else [fees]
    line = {"lineItemId": item.get("lineItemId")} if isinstance(item, dict) else {}
    if len(str(line.get("lineItemId"))) > LONGEST_KEY:
        raise Unusable(f"lineItemId: more than {LONGEST_KEY} characters")
    return [fee | line if isinstance(fee, dict) else fee for fee in fees if fee is not None]


def cost(row: Row) -> Decimal | None:
    """The fee's cost for the seller; negative if eBay gives it back, as with a refund."""
    amount: Decimal | None = row["amount"]
    kind, booked = row["transaction_type"], row["booking_entry"]
    is_part = row["line_item_id"] or kind in ("SALE", "REFUND")
    given_back = (kind == "REFUND" and booked != "CREDIT") if is_part else booked == "CREDIT"
    return -abs(amount) if amount and given_back else amount


FEES = Table(
    "ebay_finances_fees",
    key=("transaction_id", "transaction_type", "fee_line"),
    each=fee_lines,
    parent_key=("transaction_id", "transaction_type"),
    removable=True,
    columns=(
        Column("transaction_id", path="^transactionId"),
        Column("transaction_type", path="^transactionType"),
        Column("fee_line", required=True),
        Column("fee_type"),
        Column("booking_entry", path="^bookingEntry"),
        Column("line_item_id"),
        Column("order_id", path=f"^orderId|{reference('ORDER_ID')}"),
        Column("item_id", path=f"^{reference('ITEM_ID')}"),
        Column("amount", NUMERIC, "amount.value", derived=cost),
        Column("amount_currency", path="amount.currency"),
        Column("fee_memo"),
        Column("transaction_date", TIME, "^transactionDate"),
    ),
)

FAMILY = Family(
    name="finances",
    about="monetary transactions and their fees",
    source="transactions",
    calls=CALLS,
    every_minutes=15,
    quiet_minutes=30,
    costs={"finances": 1},
    cursor_type="window",
    scopes=SCOPES,
    tables=(TRANSACTIONS, FEES),
    window=WindowSpec("transaction_date", furthest_reach=FURTHEST, overlap=OVERLAP, sweep=SWEEP, widest=WIDEST),
)
