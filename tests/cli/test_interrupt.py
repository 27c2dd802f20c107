"""A signal ends a process that is parsing, however long that takes."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest

from tests.flow.case_server import Reply, Request, serving

Query = Callable[..., list[Any]]
SIZE = 200 * 2**20  # the cap is 256 MiB decoded
HEAD, TAIL = b'{"total":7,"limit":200,"orders":[{"orderId":"1"}', b"]}"
BEGUN = 1.5  # seconds of CPU time after the answer was sent: unpacked, and parsing


@pytest.mark.parametrize("command", [["run", "orders", "--account", "shop"], ["run-all", "-f", "orders"]])
def test_sigterm_ends_a_process_that_parses_the_largest_answer(
    command: list[str], program: Any, added: Any, until: Any, descendants: Any, query: Query
) -> None:
    body = gzip.compress(HEAD + b"," * SIZE + TAIL, 1)

    def answer(request: Request) -> Reply | None:
        if request.path != "/sell/fulfillment/v1/order":
            return None
        return Reply(200, body, headers={"Content-Encoding": "gzip"})

    with serving(lambda: datetime.now(UTC)) as server:
        program.environ["EBAYSYNC_SIMULATOR_URL"] = server.url
        added(program, server)
        server.answers.append(answer)
        process = program.start(*command)
        until(lambda: server.of("/sell/fulfillment/v1/order"), "the call")
        processes = [psutil.Process(pid) for pid in (process.pid, *descendants(process.pid))]

        def used() -> float:
            return max(each.cpu_times().user for each in processes)

        before = used()
        until(lambda: used() > before + BEGUN, "the parsing to begin")
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=25)
    assert process.returncode == 143, err
    assert query("SELECT status FROM ebay_worker_run") == [("interrupted",)]
    assert query("SELECT count(*) FROM ebay_lease WHERE token IS NOT NULL") == [(0,)]
    assert query("SELECT count(*) FROM ebay_orders") == [(0,)]
