"""`ebaysync forget` as the operator runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_forget_erases_one_person_or_all_of_a_file_and_says_what_is_wrong(
    program: Any, simulator: Any, query: Callable[..., list[Any]], complains: Callable[..., None]
) -> None:
    sim = simulator(sellers=1, orders_per_seller=12)
    program.environ["EBAYSYNC_SIMULATOR_URL"] = sim.url
    [account] = program.add_sellers(sim)
    assert program("run", "orders", "--account", account).code == 0
    first, second, *_ = [name for (name,) in query("SELECT DISTINCT buyer_username FROM ebay_orders ORDER BY 1")]

    ended = program("forget", first)
    assert (ended.code, "ebay_orders: " in ended.out, first in ended.err) == (0, True, False), ended.err
    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username = %s", first) == [(0,)]
    assert program("forget", first).out == "nothing is stored of this person\n"

    def notice(name: str) -> dict[str, Any]:
        return {"metadata": {"topic": "MARKETPLACE_ACCOUNT_DELETION"}, "notification": {"data": {"username": name}}}

    notices = "\n".join(json.dumps(notice(name)) for name in (second, account))
    ended = program("forget", "--from-file", "-", "--json", given=notices)
    assert (ended.code, ended.json["people"], ended.json["refused"]) == (3, 1, 1), ended.err
    assert f"ebaysync accounts remove {account}" in ended.err
    assert query("SELECT count(*) FROM ebay_orders WHERE buyer_username = %s", second) == [(0,)]

    complains(program("forget"), 2, "--from-file")
    complains(program("forget", first, "--from-file", "x"), 2, "--from-file")
    complains(program("forget", "--from-file", "nowhere.json"), 2, "nowhere.json")
    complains(program("forget", "--from-file", "-", given="nonsense"), 2, "no JSON")
    complains(program("forget", "two words"), 2, "user name")
