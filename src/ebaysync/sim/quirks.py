"""How a world moves, and where eBay's documents and its users disagree. Plain values, checked when made."""

from __future__ import annotations

from dataclasses import dataclass

CHOICES = {
    "rows": ("hash", "modified", "-modified", "created", "-created", "id"),
    "post_order_offset": ("row", "page"),
    "post_order_errors": ("errorMessage", "error", "errors"),
    "return_detail": ("both", "only_detail"),
    "open_returns": ("all", "started", "ignored"),
    "messages_past_end": ("empty", "last"),
    "messages_counts": ("all", "own folders", "no priority", "none"),
    "messages_without_folder": ("all", "inbox", "inbox and sent", "everything"),
    "won_shape": ("transaction", "order", "mixed"),
    "inventory_offset": ("page", "record"),
}


@dataclass(frozen=True)
class Rates:
    """Events per hour: of each seller's orders, and of each kind of thing of each seller. 0 stands still."""

    new_per_hour: float = 0
    changes_per_hour: float = 0
    new_things_per_hour: float = 0
    thing_changes_per_hour: float = 0


@dataclass(frozen=True)
class Quirks:
    """Behaviour that eBay leaves open. A client must be right under every value.

    Raises ValueError for a value that is not one of CHOICES.
    """

    rows: str = "hash"
    """the order of getOrders' rows, which eBay does not promise; the default follows no field"""
    index_lag: float = 0
    """the longest time, in seconds, between a change and its place in getOrders' filters; each change draws its own"""
    signatures: bool = False
    """whether the Finances API demands digital signatures where eBay does"""
    post_order_offset: str = "row"
    """what Post-Order's offset counts"""
    post_order_errors: str = "errorMessage"
    """the envelope of Post-Order's errors"""
    return_detail: str = "both"
    """the parts of a return's FULL answer"""
    open_returns: str = "all"
    """which returns return_state=ALL_OPEN shows: all that are not closed, those that have just begun, or any"""
    messages_page_cap: int = 200
    """the most headers of GetMyMessages on a page, whatever was asked for"""
    messages_past_end: str = "empty"
    """what a page behind the last one of GetMyMessages holds"""
    messages_inbox_summary: bool = False
    """whether ReturnSummary names Inbox and Sent"""
    messages_counts: str = "all"
    """what ReturnSummary counts: the messages of all folders; of the seller's own ones, without Inbox and Sent; of all,
    but not those of high priority; or nothing"""
    messages_without_folder: str = "all"
    """the headers that come without FolderID: of all folders; of Inbox alone; of Inbox and Sent; or of all folders,
    whatever StartTime and EndTime say"""
    messages_headers_lag: float = 0
    """seconds after which headers show a message that the counts have shown at once"""
    message_size: int = 0
    """the least characters of a message's Text"""
    won_shape: str = "transaction"
    """how WonList writes a won line"""
    restless: bool = False
    """whether values that no change explains differ in every answer"""
    inventory_offset: str = "page"
    """what the Inventory API's offset counts: a page, as documented, or a record, as seen"""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}")
