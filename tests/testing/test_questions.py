"""The questions: a node that keeps a rule, one that breaks it, and one of which nothing can be said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from tests.support import identity, make_manager
from tests.support.scenes import Even, converse, findings, greet, played
from triolight import Features, open_peer_nursery
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    Init,
    Message,
    NodeAnnouncement,
    Ping,
    Pong,
    QueryChannelRange,
    ReplyChannelRange,
    Warning,
)
from triolight.testing import ScriptedPeer, Verdict
from triolight.wire import ShortChannelId


async def test_what_breaks_a_rule_is_found(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1, messages=BOLT | {Even})) as peers:
        found = await findings(peers.attach)
    assert found["closes for an unknown even message"].verdict is Verdict.BREAKS
    assert found["closes for an unknown even message"].seen == "stays connected"
    assert found["answers query_channel_range"].verdict is Verdict.UNKNOWN
    assert sum(one.verdict is Verdict.BREAKS for one in found.values()) == 1


KEPT_BY_CHANCE = {
    "talks to us after both Inits",
    "refuses an unknown even record in Init",
    "refuses records out of order in Init",
    "refuses networks of 33 bytes",
    "closes for another version of the handshake",
    "closes for an act three with a wrong tag",
    "sends Init first, and of itself",
    "sends no gossip of others before a filter",
}


async def test_a_node_that_answers_everything_wrongly(autojump_clock: trio.testing.MockClock) -> None:
    """And without end where it can: no question of ours goes on for ever."""

    async def chatter(peer: ScriptedPeer) -> None:
        features = Features.named("gossip_queries") | Features((100,))
        await peer.send(Init(features=features.to_bytes()))
        while (got := await peer.receive()) is not None:
            match got:
                case Ping(num_pong_bytes=77):
                    for _ in range(11):
                        await peer.send(*[Warning(data=b"no")] * 100)
                case Ping(num_pong_bytes=size):
                    await peer.send(Pong(ignored=bytes(size % 65_531 + 1)))
                case QueryChannelRange():
                    reply = ReplyChannelRange(
                        chain_hash=bytes(32),
                        first_blocknum=0,
                        number_of_blocks=0,
                        sync_complete=1,
                        encoded_short_ids=b"\0odd",
                    )
                    await peer.send(reply)
                case _:
                    pass

    connections = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal connections
        connections += 1
        # The third is the control: who fails in it is not asked for what it closes.
        await played(converse if connections == 3 else chatter)(stream)

    found = await findings(serve)
    assert found["ignores an unknown odd message"].seen == "no pong among 1000 messages"
    assert found["a second Init"].seen.startswith("warning 'no', warning 'no', warning 'no', no pong among 1000")
    assert found["answers a ping with as many bytes as it asks for"].seen == "1 bytes where 0 were asked for"
    assert found["answers query_channel_range"].seen.startswith("encoded_short_ids at byte 1: 3 bytes are no list")
    assert found["closes when something else comes first"].seen == "stays connected"
    assert "did not come within 10 seconds" in found["ends the answer to query_short_channel_ids"].seen
    # Its Init is good, its end of the noise is ours, and what cannot be read ends it.
    assert {rule for rule, one in found.items() if one.verdict is Verdict.KEEPS} == KEPT_BY_CHANCE


async def test_a_node_that_says_something_else_first(autojump_clock: trio.testing.MockClock) -> None:
    found = await findings(played(lambda peer: peer.send(Pong(ignored=b"hi"))))
    assert found["sends Init first, and of itself"].verdict is Verdict.BREAKS
    assert found["sends Init first, and of itself"].seen.startswith("first says Pong(")
    assert found["answers query_channel_range"].verdict is Verdict.UNKNOWN


async def test_a_node_that_waits_for_ever_after_a_wrong_version(autojump_clock: trio.testing.MockClock) -> None:
    async def patient(peer: ScriptedPeer) -> None:
        act = await peer.receive_bytes(50)
        if act[0] != 0:
            await trio.sleep_forever()
        await peer.send_bytes(peer.answer_act(act))
        peer.answer_act(await peer.receive_bytes(66))
        await converse(peer)

    found = await findings(played(patient, handshake=False))
    assert found["closes for another version of the handshake"].verdict is Verdict.BREAKS
    assert found["closes for another version of the handshake"].seen.startswith("the connection was not closed")


def limited(burst: float, words: bytes | None) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """As LND does it: so many pings at once, ten a second, and then it closes."""

    async def behaviour(peer: ScriptedPeer) -> None:
        await greet(peer)
        tokens, at = burst, trio.current_time()
        while (got := await peer.receive()) is not None:
            if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                now = trio.current_time()
                tokens, at = min(burst, tokens + (now - at) * 10) - 1, now
                if tokens < 0:
                    if words is not None:
                        await peer.send(Warning(data=words))
                    return
                await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))

    return played(behaviour)


READING, WRITING = (f"changes its key for {what} after 500 messages" for what in ("reading", "writing"))


async def test_polite_limits_of_pings_are_kept(autojump_clock: trio.testing.MockClock) -> None:
    found = await findings(limited(5, None), thorough=True)
    assert found[READING].verdict is found[WRITING].verdict is Verdict.KEEPS


async def test_a_limit_that_is_said_is_no_broken_rule(autojump_clock: trio.testing.MockClock) -> None:
    async def stricter(stream: trio.abc.Stream) -> None:
        async def behaviour(peer: ScriptedPeer) -> None:
            await greet(peer)
            for _ in range(400):
                got = await peer.receive()
                if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                    await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))
            if words:
                await peer.send(Warning(data=words))

        await played(behaviour)(stream)

    words = b"Too many messages"
    found = await findings(stricter, thorough=True)
    assert (found[READING].verdict, found[WRITING].verdict) == (Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert found[WRITING].seen.startswith("warning 'Too many messages', ")
    assert found[WRITING].seen.endswith(" after 399 pongs")
    words = b""
    found = await findings(stricter, thorough=True)
    assert (found[READING].verdict, found[WRITING].verdict) == (Verdict.BREAKS, Verdict.BREAKS)


async def test_gossip_that_was_not_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    def announcement(number: int) -> NodeAnnouncement:
        return NodeAnnouncement(
            signature=bytes(64),
            features=b"",
            timestamp=1,
            node_id=identity(number),
            rgb_color=bytes(3),
            alias=bytes(32),
            addresses=b"",
        )

    def telling(*messages: Message) -> Callable[[trio.abc.Stream], Awaitable[None]]:
        async def behaviour(peer: ScriptedPeer) -> None:
            await greet(peer)
            await peer.send(*messages)
            while (got := await peer.receive()) is not None:
                if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                    await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))

        return played(behaviour)

    rule = "sends no gossip of others before a filter"
    channel = ChannelAnnouncement(
        node_signature_1=bytes(64),
        node_signature_2=bytes(64),
        bitcoin_signature_1=bytes(64),
        bitcoin_signature_2=bytes(64),
        features=b"",
        chain_hash=bytes(32),
        short_channel_id=ShortChannelId.of(103, 1, 0),
        node_id_1=identity(1),
        node_id_2=identity(2),
        bitcoin_key_1=identity(3),
        bitcoin_key_2=identity(4),
    )
    found = await findings(telling(announcement(1), channel))
    assert found[rule].verdict is Verdict.KEEPS
    for others in (announcement(2), channel.replace(node_id_1=identity(3))):
        found = await findings(telling(others))
        assert (found[rule].verdict, found[rule].seen) == (Verdict.BREAKS, f"sends a {others.name} of others")
