"""P2PGossipSync through managers in memory: what it does with what peers say, by the rules' numbers."""

from __future__ import annotations

from tests.support.gossip_peers import ALL, Listener, Server, query_ids, query_range, town
from triolight.messages import ReplyChannelRange
from triolight.wire import ShortChannelId

A, B, C = (ShortChannelId.of(100, number, 0) for number in (1, 2, 3))


def test_main_job() -> None:
    known = town(A, B, C)
    server = Server(*known)
    peer = Listener(server)
    peer.say(ALL)
    got = peer.gossip()
    assert sorted(got) == sorted(known)
    peer.say(query_range())
    print(peer.heard(ReplyChannelRange))
    peer.say(query_ids([A, C]))
    print(peer.heard())
