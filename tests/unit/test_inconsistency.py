"""When several answers that contradict themselves are complete together."""

from __future__ import annotations

from ebaysync.sync.state.inconsistent_reads import Inconsistent, digest, read_again


def reads(*each: tuple[str, int]) -> Inconsistent:
    """Runs in a row that read these keys, one letter each, and these numbers of counted records beside them."""
    found: Inconsistent | None = None
    for keys, excess in each:
        found = read_again(found, list(keys), excess, "why")
    assert found
    return found


def test_reads_that_miss_other_records_are_complete_together() -> None:
    assert not reads(("abc", 1)).is_complete
    assert not reads(("abc", 2), ("abd", 2)).is_complete
    assert reads(("abc", 2), ("abd", 2), ("ade", 2)).is_complete


def test_reads_of_other_totals_are_never_added_up() -> None:
    assert not reads(("abc", 1), ("abd", 2)).is_complete
    assert not reads(("abc", 1), ("ab", 1), ("abd", 1)).is_complete


def test_a_slice_whose_count_is_right_and_that_moves_is_not_complete() -> None:
    assert not reads(("abc", 0), ("abc", 0)).is_complete


def test_reads_of_the_same_records_are_counted() -> None:
    assert [reads(*[("abc", 1)] * times).is_believed for times in (1, 2, 3)] == [False, False, True]
    assert reads(("abc", 1), ("abd", 2), ("abc", 1)).reads == 1


def test_a_read_that_an_older_release_stored_is_counted() -> None:
    stored = Inconsistent("why", 2, 1, digest("abc"))
    assert read_again(stored, list("abc"), 1, "why").is_believed
    assert not read_again(stored, list("abd"), 1, "why").is_complete


def test_many_keys_are_not_remembered() -> None:
    keys = [str(number) for number in range(5000)]
    assert len(read_again(None, keys, 1, "why").digest) == 20 - 4
