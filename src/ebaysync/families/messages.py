"""messages: the seller's mailbox, all folders, with bodies (Trading GetMyMessages).

How eBay behaves, and this module copes:

- Headers come by the time of sending, without a total. A change of Read, Flagged, Replied or Folder moves no time:
  hence the sweep.
- Folders come with counts. If they are the same as before, no header is read (sources/message_folders).
- Bodies (Text up to 2 MB, Content) come for at most ten ids per call, and only missing ones are fetched. They have
  columns of their own, so that a header that is read again does not lose them. ItemID is documented for headers alone.
- A message that expires after a year or is deleted simply disappears: the stored row stays.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from ebaysync.families.family import DetailSpec, Family, MergeSpec, RecordVersions, WindowSpec
from ebaysync.store.table import BOOL, TIME, Column, Row, Stored, Table

_BODY = ("Text", "Content")

MESSAGES = Table(
    "ebay_messages",
    key=("message_id",),
    columns_only=_BODY,
    columns=(
        Column("message_id", path="MessageID", required=True),
        Column("external_message_id", path="ExternalMessageID"),
        Column("folder_id", path="Folder.FolderID"),
        Column("sender", path="Sender", private=True),
        Column("recipient_user_id", path="RecipientUserID", private=True),
        Column("send_to_name", path="SendToName", private=True),
        Column("subject", path="Subject", private=True),
        Column("receive_date", TIME, "ReceiveDate"),
        Column("expiration_date", TIME, "ExpirationDate"),
        Column("read", BOOL, "Read"),
        Column("flagged", BOOL, "Flagged"),
        Column("replied", BOOL, "Replied"),
        Column("high_priority", BOOL, "HighPriority"),
        Column("response_enabled", BOOL, "ResponseDetails.ResponseEnabled"),
        Column("message_type", path="MessageType"),
        Column("question_type", path="QuestionType"),
        Column("item_id", path="ItemID"),
        Column("item_title", path="ItemTitle"),
        Column("item_end_time", TIME, "ItemEndTime"),
        Column("listing_status", path="ListingStatus"),
        Column("text", path="Text", kept=True, private=True),
        Column("content", path="Content", kept=True, private=True),
    ),
)


def has_body(message: Row, stored: Stored) -> bool:
    return stored.has_kept


def compose(versions: RecordVersions) -> bytes:
    """The header, with the body if one has come now."""
    if versions.detail is None:
        return versions.newest
    body = msgspec.json.decode(versions.detail, type=dict[str, msgspec.Raw])
    header = msgspec.json.decode(versions.listed or versions.stored or b"{}", type=dict[str, msgspec.Raw])
    # A body may be an empty element. Then all there is to store is that it came.
    found = {name: msgspec.Raw(b'""') if bytes(body[name]) == b"null" else body[name] for name in _BODY if name in body}
    # The header last: eBay documents some fields, such as ItemID, for headers only.
    return msgspec.json.encode(body | header | (found or {"Text": msgspec.Raw(b'""')}))


FAMILY = Family(
    name="messages",
    about="messages of all folders, with bodies",
    source="messages",
    calls="Trading GetMyMessages",
    every_minutes=10,
    quiet_minutes=90,
    costs={"trading.GetMyMessages": 1},
    cursor_type="window",
    scopes=("https://api.ebay.com/oauth/api_scope",),
    tables=(MESSAGES,),
    window=WindowSpec(
        "receive_date",
        # Messages expire after one year.
        furthest_reach=timedelta(days=365),
        overlap=timedelta(minutes=60),
        # Read, flagged, replied and folder change without a new time.
        sweep=timedelta(days=90),
        widest=timedelta(days=90),
    ),
    detail=DetailSpec(needed=lambda message: True, is_current=has_body),
    merge=MergeSpec(compose=compose),
)
