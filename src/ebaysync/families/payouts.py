"""payouts: what eBay paid to the seller's bank (Finances getPayouts).

payoutStatus changes after payoutDate (a failed payout is tried again, a sent one comes back), and no filter shows it:
hence the sweep. `ebay_payout_check` compares transactionCount with the stored transactions.
"""

from __future__ import annotations

from ebaysync.families import finances
from ebaysync.families.family import Family, WindowSpec
from ebaysync.store.table import INTEGER, NUMERIC, TIME, Column, Table, money

PAYOUTS = Table(
    "ebay_payouts",
    key=("payout_id",),
    columns=(
        Column("payout_id", required=True),
        Column("payout_status"),
        Column("payout_status_description"),
        Column("payout_date", TIME),
        Column("last_attempted_payout_date", TIME),
        *money("amount"),
        *money("amount_converted_from", "amount", value="convertedFromValue", currency="convertedFromCurrency"),
        Column("exchange_rate", NUMERIC, "amount.exchangeRate"),
        *money("total_amount"),
        *money("total_fee"),
        Column("transaction_count", INTEGER),
        Column("bank_reference", private=True),
        Column("payout_memo", private=True),
        Column("payout_reference"),
        Column("instrument_type", path="payoutInstrument.instrumentType"),
        Column("instrument_nickname", path="payoutInstrument.nickname", private=True),
        Column("account_last_four_digits", path="payoutInstrument.accountLastFourDigits", private=True),
    ),
)

FAMILY = Family(
    name="payouts",
    about="payouts to the seller's bank",
    source="payouts",
    calls="Finances getPayouts",
    every_minutes=60,
    quiet_minutes=360,
    costs={"finances": 1},
    cursor_type="window",
    scopes=finances.SCOPES,
    tables=(PAYOUTS,),
    window=WindowSpec("payout_date", furthest_reach=finances.FURTHEST, sweep=finances.SWEEP, widest=finances.WIDEST),
)
