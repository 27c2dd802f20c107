"""A page server: getOrders of one seller with prepared answers, so that serving costs next to nothing.

    python -m benchmarks.pages --orders 20000 --days 14 [--latency 0.1]     prints its port

Orders come from the simulator, multiplied. GET /touch?n=100 changes that many orders now; /latency?seconds=0.1 delays
each later answer. Filters, limit, offset, total and next are eBay's; errors are not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from urllib.parse import parse_qs, quote, urlsplit

from ebaysync.sim.world import World

PATH = "/sell/fulfillment/v1/order"
SPAN = re.compile(r"(lastmodifieddate|creationdate):\[([^\].]*(?:\.\d+)?Z)\.\.([^\]]*)\]")
CREATED, MODIFIED = '"creationDate":"', '"lastModifiedDate":"'
TOKEN = {"access_token": "bench", "token_type": "User Access Token", "expires_in": 7200}
USER = {"userId": "benchSeller", "username": "bench", "registrationMarketplaceId": "EBAY_US"}


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def samples(number: int) -> list[str]:
    """Orders as a list shows them: of 2.9 KB on average, and none cancelled, which would be asked for one by one."""
    world = World(seed=1, sellers=1, orders_per_seller=number, days=14)
    now = world.now()
    texts = (order.answer(now, row=True).decode() for order in world.sellers[0].orders.values())
    return [text for text in texts if '"cancelState":"NONE_REQUESTED"' in text and len(text) < 3300]


class Orders:
    """All orders, by the time of their modification."""

    def __init__(self, number: int, days: float) -> None:
        kinds, end = samples(300), datetime.now(UTC) - timedelta(minutes=10)
        self.rows: list[tuple[str, str]] = []
        for index in range(number):
            at = stamp(end - timedelta(days=days) * ((number - index) / number))
            text = re.sub(
                r'("orderId":")[^"]*', rf"\g<1>{index % 100:02}-{index // 100:05}-{index:05}", kinds[index % len(kinds)]
            )
            text = re.sub(
                r'("lineItemId":")(\d)', lambda found, index=index: f"{found[1]}{index + 10_000}{found[2]}", text
            )
            self.rows.append((at, _put(_put(text, CREATED, at), MODIFIED, at)))
        self.times = [at for at, _ in self.rows]
        self.touched = 0

    def touch(self, number: int) -> None:
        """Change orders that lie evenly between the oldest and the newest; the next time, their neighbours."""
        at, step = stamp(datetime.now(UTC) - timedelta(seconds=1)), max(1, len(self.rows) // number)
        self.touched += 1
        chosen = {(self.touched + place * step) % len(self.rows) for place in range(number)}
        new = [(at, _put(self.rows[place][1], MODIFIED, at)) for place in sorted(chosen)]
        new = [(at, re.sub(r'("buyer":\{"username":")[^"]*', rf"\g<1>buyer_{self.touched}", text)) for at, text in new]
        self.rows = [row for place, row in enumerate(self.rows) if place not in chosen] + new
        self.times = [at for at, _ in self.rows]

    def page(self, query: dict[str, list[str]], base: str) -> bytes:
        limit, offset = int(query.get("limit", ["50"])[0]), int(query.get("offset", ["0"])[0])
        span = SPAN.search(query.get("filter", [""])[0])
        low = bisect_left(self.times, span[2]) if span else 0
        high = bisect_right(self.times, span[3] or "9") if span else len(self.rows)
        rows = self.rows[low:high][offset : offset + limit]
        kept = f"{base}{PATH}?filter={quote(query.get('filter', [''])[0], safe=':,.')}&limit={limit}&offset="
        head = {"href": f"{kept}{offset}", "total": high - low, "limit": limit, "offset": offset}
        if offset + limit < high - low:
            head["next"] = f"{kept}{offset + limit}"
        return f'{json.dumps(head)[:-1]},"orders":[{",".join(text for _, text in rows)}]}}'.encode()


def _put(text: str, name: str, value: str) -> str:
    at = text.index(name) + len(name)
    return text[:at] + value + text[at + len(value) :]


class Server:
    def __init__(self, orders: Orders, latency: float) -> None:
        self.orders, self.latency = orders, latency

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                host = re.search(r"^host: *(\S+)", head, re.IGNORECASE | re.MULTILINE)
                body = self.answer(head.split(" ")[1], f"http://{host[1] if host else ''}")
                await asyncio.sleep(self.latency)
                date = formatdate(usegmt=True)
                kind = "Content-Type: application/json;charset=UTF-8"
                writer.write(
                    f"HTTP/1.1 200 OK\r\nDate: {date}\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                )
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, target: str, base: str) -> bytes:
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        if parts.path == PATH:
            return self.orders.page(query, base)
        if parts.path == "/touch":
            self.orders.touch(int(query["n"][0]))
        elif parts.path == "/latency":
            self.latency = float(query["seconds"][0])
        return json.dumps(TOKEN if parts.path.endswith("/token") else USER).encode()


async def run(orders: Orders, latency: float) -> None:
    server = await asyncio.start_server(Server(orders, latency).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--latency", type=float, default=0, help="seconds")
    options = parser.parse_args()
    asyncio.run(run(Orders(options.orders, options.days), options.latency))


if __name__ == "__main__":
    main()
