"""open_onion_messenger, over connections, on the mock clock: answers, refusals, ends, readers."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, port_of, secret, until
from tests.support.messengers import Node, answering, in_silence, nodes
from tests.support.onions import random
from triolight import NodeAddress, PeerClosed, open_peer_nursery
from triolight.onion import (
    Drop,
    NoRoute,
    OnionLimits,
    OnionMessenger,
)
from triolight.services import (
    OnionReceived,
    open_onion_messenger,
)

NOW = 1_800_000_000.0


async def test_a_question_and_its_answer_through_somebody() -> None:
    async def echo(received: OnionReceived) -> None:
        assert received.content is not None
        await received.reply(extra={79: received.content.value[::-1]})

    async with nodes(3) as (one, two, three), answering(three, echo) as heard:
        answer = await one.messenger.request(three.id, extra={77: b"abc"}, via=two.id)
        assert answer.content == (79, b"cba")
        assert answer.reply_path is None
        (received,) = heard
        assert received.reply_path is not None
        assert repr(received).startswith("<OnionReceived OnionmsgTlv(")
        with pytest.raises(NoRoute, match="has been answered"):
            await received.reply(invoice=b"again")
        with pytest.raises(NoRoute, match="no reply path"):
            await answer.reply(invoice_error=b"x")
        assert two.onions.statistics().forwarded == 2
        assert repr(one.messenger) == f"<Messenger {one.onions!r}, 0 readers>"


async def test_each_gets_its_own_answer() -> None:
    kept: list[OnionReceived] = []

    async def keep(received: OnionReceived) -> None:
        kept.append(received)

    async with nodes(2) as (one, two), answering(two, keep):
        answers: dict[bytes, Any] = {}

        async def ask(data: bytes) -> None:
            answers[data] = (await one.messenger.request(two.id, extra={77: data})).content

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, b"a")
            nursery.start_soon(ask, b"b")
            await until(lambda: len(kept) == 2)
            for received in reversed(kept):
                assert received.content is not None
                await received.reply(extra={79: received.content.value})
        assert answers == {b"a": (79, b"a"), b"b": (79, b"b")}


async def test_who_does_not_wait_any_more_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    async with nodes(2) as (one, two), answering(two, in_silence) as heard:
        with trio.move_on_after(60) as scope:
            await one.messenger.request(two.id, extra={77: b"x"})
        assert scope.cancelled_caught
        assert "0 requests" in repr(one.onions)
        await heard[0].reply(extra={79: b"late"})
        await until(lambda: one.onions.statistics().received == 1)
        assert one.onions.statistics().dropped == {Drop.NOT_ASKED: 1}


async def test_the_end_of_the_peer_wakes_who_waits() -> None:
    async with nodes(2) as (one, two), answering(two, in_silence) as heard:
        with pytest.raises(PeerClosed):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: ending(two, heard))
                try:
                    await one.messenger.request(two.id, extra={77: b"x"})
                except PeerClosed as error:
                    closed = error
                    nursery.cancel_scope.cancel()
            raise closed
        assert "0 requests" in repr(one.onions)
        with pytest.raises(NoRoute):
            await one.messenger.request(two.id, extra={77: b"x"})


async def ending(node: Node, heard: list[OnionReceived]) -> None:
    await until(lambda: len(heard) == 1)
    (peer,) = node.peers.peers.values()
    await peer.disconnect(reason="enough")


async def test_a_node_is_dialled_whose_address_is_given_or_known() -> None:
    places: dict[bytes, NodeAddress] = {}

    def addresses(node_id: bytes) -> list[NodeAddress]:
        wrong = NodeAddress(node_id, "127.0.0.1", 1)
        return [wrong, places[node_id]] if node_id in places else []

    async with nodes(1, addresses=addresses) as (one,):
        for number, known in ((5, False), (6, True)):
            onions = OnionMessenger(secret(number), random(number + 100))
            async with (
                open_peer_nursery(make_manager(number, onion=onions)) as peers,
                open_onion_messenger(peers, onions) as messenger,
                messenger.subscribe() as inbox,
            ):
                address = NodeAddress(identity(number), "127.0.0.1", await port_of(peers))
                with pytest.raises(NoRoute):
                    await one.messenger.send(identity(number), extra={77: b"x"})
                if known:
                    places[identity(number)] = address
                    await one.messenger.send(identity(number), extra={77: b"x"})
                else:
                    await one.messenger.send(address, extra={77: b"x"})
                assert (await anext(inbox)).content == (77, b"x")
                await one.messenger.send(identity(number), extra={77: b"y"}, via=address)
                assert (await anext(inbox)).content == (77, b"y")


async def test_a_reader_that_is_busy_loses_what_is_too_much() -> None:
    async with nodes(2) as (one, two):
        async with two.messenger.subscribe() as inbox, two.messenger.subscribe() as other:
            for number in range(20):
                await one.messenger.send(two.id, extra={77: bytes([number])})
            await until(lambda: two.onions.statistics().received == 20)
            for reader in (inbox, other):
                assert [(await anext(reader)).content for _ in range(20)] == [(77, bytes([at])) for at in range(20)]
        await one.messenger.send(two.id, extra={77: b"nobody"})
        await until(lambda: two.onions.statistics().received == 21)
        assert sum(two.onions.statistics().dropped.values()) == 1


async def test_a_reader_holds_so_many() -> None:
    limits = OnionLimits(burst=1000, all_burst=1000)
    async with nodes(2, limits=limits) as (one, two), two.messenger.subscribe() as inbox:
        for number in range(70):
            await one.messenger.send(two.id, extra={77: bytes([number])})
        await until(lambda: two.onions.statistics().received == 70)
        assert two.onions.statistics().dropped == {Drop.UNREAD: 6}
        for number in range(64):
            assert (await anext(inbox)).content == (77, bytes([number]))


async def test_readers_end_with_the_block_and_there_is_one_block() -> None:
    onions = OnionMessenger(secret(1), random(1))
    async with open_peer_nursery(make_manager(1, onion=onions)) as peers:
        async with open_onion_messenger(peers, onions) as messenger:
            inbox = messenger.subscribe()
            await inbox.__aenter__()
            with pytest.raises(RuntimeError, match="readers already"):
                async with open_onion_messenger(peers, onions):
                    pass
        assert [one async for one in inbox] == []
        await inbox.__aexit__(None, None, None)
