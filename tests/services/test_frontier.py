"""Whom a crawl may dial: nobody twice, nobody too soon, nobody that it was not led to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gossip import IDS
from triolight.address import NodeAddress
from triolight.services.frontier import CrawlPolicy, Frontier

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"


def at(number: int, host: str = "", port: int = 9735) -> NodeAddress:
    return NodeAddress(IDS[number], host or f"8.8.8.{number + 1}", port)


def dialled(frontier: Frontier, now: float = 0.0) -> list[NodeAddress]:
    """All that may be dialled now."""
    found: list[NodeAddress] = []
    while isinstance(one := frontier.next(now), NodeAddress):
        found.append(one)
    return found


def test_each_node_is_dialled_until_it_answers_and_no_longer() -> None:
    frontier = Frontier(CrawlPolicy())
    frontier.add([at(0), at(0, "9.9.9.9"), at(1), at(0)])
    assert dialled(frontier) == [at(0), at(1)]
    assert frontier.visited(IDS[1], reached=True)
    assert not frontier.visited(IDS[0], reached=False)
    frontier.add([at(1, "9.9.9.1"), at(0)])  # reached, and tried
    assert dialled(frontier) == [at(0, "9.9.9.9")]
    assert frontier.visited(IDS[0], reached=False)
    frontier.add([at(0, "9.9.9.2")])
    assert frontier.next(0.0) is None
    assert (frontier.dialled, frontier.found) == (2, 2)


def test_one_dial_a_host_in_so_many_seconds() -> None:
    frontier = Frontier(CrawlPolicy(host_seconds=10))
    frontier.add([at(0, "8.8.8.8", 1), at(1, "8.8.8.8", 2), at(2, "8.8.8.8", 3), at(3)])
    assert dialled(frontier, 100.0) == [at(0, "8.8.8.8", 1), at(3)]
    assert frontier.next(100.0) == 110.0
    assert dialled(frontier, 110.0) == [at(1, "8.8.8.8", 2)]
    assert frontier.next(111.0) == 120.0
    # One's own hosts are another matter.
    frontier = Frontier(CrawlPolicy(allow_private=True))
    frontier.add([at(number, "127.0.0.1", number + 1) for number in range(3)])
    assert len(dialled(frontier)) == 3


@pytest.mark.parametrize(
    ("host", "policy", "may"),
    [
        ("8.8.8.8", CrawlPolicy(), True),
        ("127.0.0.1", CrawlPolicy(), False),
        ("10.1.2.3", CrawlPolicy(), False),
        ("::1", CrawlPolicy(), False),
        ("node.example", CrawlPolicy(), False),
        (ONION, CrawlPolicy(), False),
        ("127.0.0.1", CrawlPolicy(allow_private=True), True),
        ("node.example", CrawlPolicy(allow_private=True), True),
        (ONION, CrawlPolicy(allow_private=True), False),
        (ONION, CrawlPolicy(onions=True), True),
    ],
)
def test_what_is_private_is_dialled_only_if_it_was_named(host: str, policy: CrawlPolicy, may: bool) -> None:
    frontier = Frontier(policy)
    frontier.add([at(0, host)])
    assert dialled(frontier) == [at(0, host)] * may
    assert frontier.found == 1
    frontier = Frontier(policy)
    frontier.add([at(0, host)], named=True)
    assert dialled(frontier) == [at(0, host)]


def test_who_was_dialled_not_long_ago_is_left_in_peace_unless_named() -> None:
    frontier = Frontier(CrawlPolicy())
    frontier.add([at(1)], named=True)
    frontier.skip(IDS[0])
    frontier.skip(IDS[1])
    frontier.add([at(0), at(1)])
    assert dialled(frontier) == [at(1)]
    assert (frontier.found, frontier.dialled) == (2, 1)


def test_bounds() -> None:
    frontier = Frontier(CrawlPolicy(max_nodes=2, max_channels=3, channels_at_once=2))
    frontier.add([at(number) for number in range(4)])
    assert dialled(frontier) == [at(0), at(1)]
    # A second address of a node that was dialled is no other node.
    frontier.add([at(0, "9.9.9.9")])
    frontier.visited(IDS[0], reached=False)
    assert dialled(frontier) == [at(0, "9.9.9.9")]
    for number in range(50):
        frontier.hear(bytes([number]) * 33)
    assert frontier.found == 20
    frontier.add([NodeAddress(IDS[7], "9.9.9.7", number) for number in range(1, 5)])
    frontier.list_channels(range(10))
    assert frontier.take_channels(range(10)) == [0, 1]
    assert frontier.take_channels(range(10)) == [2]
    assert frontier.take_channels(range(10)) == []


def test_channels_are_asked_of_one_node_each_and_of_another_if_it_does_not_answer() -> None:
    frontier = Frontier(CrawlPolicy(channels_at_once=2))
    frontier.list_channels([5, 6, 7])
    assert frontier.take_channels([7, 6, 9]) == [7, 6]
    frontier.list_channels([6, 7])
    assert frontier.take_channels([5, 6, 7]) == [5]
    frontier.give_back([6])
    assert frontier.take_channels([5, 6, 7]) == [6]


@pytest.mark.parametrize("field", ["rate", "at_once", "visit_seconds", "max_nodes"])
def test_a_policy_is_of_positive_numbers(field: str) -> None:
    wrong: dict[str, Any] = {field: 0}
    with pytest.raises(ValueError, match=f"{field} is above 0, not 0"):
        CrawlPolicy(**wrong)
