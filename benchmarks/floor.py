"""The floor: the same pages one after another, and the same bytes by COPY. python -m benchmarks.floor PAGES DATABASE"""

from __future__ import annotations

import sys

import httpx
import msgspec
import psycopg


class Page(msgspec.Struct):
    orders: list[msgspec.Raw]
    next: str | None = None


class Order(msgspec.Struct, rename="camel"):
    order_id: str


def main(pages: str, database: str) -> None:
    url: str | None = f"{pages}/sell/fulfillment/v1/order?limit=200"
    with psycopg.connect(database) as connection, httpx.Client(timeout=30) as client:
        connection.execute("DROP TABLE IF EXISTS floor")
        connection.execute("CREATE TABLE floor (order_id text PRIMARY KEY, raw_payload jsonb NOT NULL)")
        with connection.cursor().copy("COPY floor FROM STDIN") as copy:
            while url:
                page = msgspec.json.decode(client.get(url).content, type=Page)
                for raw in page.orders:
                    copy.write_row((msgspec.json.decode(raw, type=Order).order_id, bytes(raw).decode()))
                url = page.next


if __name__ == "__main__":
    main(*sys.argv[1:])
