"""Three peers at work, told step by step. It believes nothing that it has not checked.

What the other commands ask of a peer is answered here.
"""

from __future__ import annotations

import shutil
from typing import Any, Final, TypeVar

import click
import trio

from triolight import (
    DisconnectCode,
    NodeAddress,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    Side,
    TriolightError,
    open_peer_nursery,
    wire,
)
from triolight.cli.exits import FailedError
from triolight.cli.node import manager_of, new_secret, port_of
from triolight.cli.output import is_unwritten, logger_for, milliseconds, offered, start_log
from triolight.cli.running import run
from triolight.connection import LARGEST_PONG
from triolight.messages import BOLT, Message, Ping, UnknownMessage, Warning, message
from triolight.shell.anywhere import AnyPeer

DEMO_SECONDS: Final = 10.0
"""The demo takes well under one second; whatever takes this long does not work."""

T = TypeVar("T")


@message(40001)
class Greeting(Message):
    """The demo's own message. Above 32767 types are for experiments; odd ones are ignored by who does not know them."""

    text: wire.remainder


class _Story:
    """Tells the demo, and checks it."""

    def __init__(self) -> None:
        self._title = "before the first"
        self._number = 0
        self._width = min(100, shutil.get_terminal_size().columns)

    def step(self, title: str) -> None:
        self._number += 1
        self._title = title
        click.echo("\n" + click.style(f"{self._number}. {title}", bold=True))

    def tell(self, words: str) -> None:
        click.echo(click.wrap_text(words, self._width, "   ", "   "))

    def show(self, line: str) -> None:
        """Something to be copied, so it is not wrapped."""
        click.echo(f"      {line}")

    def check(self, happened: bool, words: str) -> None:
        """Says what happened, or ends the demo because it did not."""
        if not happened:
            raise self.failure(f"this did not happen: {words}")
        click.echo(click.style("   ok ", fg="green") + words)

    def failure(self, words: str) -> FailedError:
        return FailedError(f"the demo failed in step {self._number}, {self._title!r}: {words}")


def tell(verbose: int) -> None:
    """The whole story. FailedError if a part of it does not happen."""
    start_log(verbose)
    story = _Story()
    try:
        run(_demo, story, verbose)
    except trio.TooSlowError:
        raise story.failure(f"not done within {DEMO_SECONDS:g} seconds") from None
    except (TriolightError, OSError) as error:
        if isinstance(error, BrokenPipeError) or is_unwritten(error):
            raise  # of the output, not of the story
        raise story.failure(str(error)) from error


async def _demo(story: _Story, verbose: int) -> None:
    click.echo("Three Lightning peers in one process, talking over real TCP connections on 127.0.0.1.")
    managers = {
        name: manager_of(new_secret(), logger_for(verbose, f"triolight.{name}"), BOLT | {Greeting})
        for name in ("alice", "bob", "mallory")
    }
    with trio.fail_after(DEMO_SECONDS):
        async with open_peer_nursery(managers["alice"]) as alice, alice.events() as news:
            story.step("Three nodes")
            port = port_of((await alice.listen(0, host="127.0.0.1"))[0])
            story.tell("A node is a secret key; its public key is the node's id.")
            for name, manager in managers.items():
                story.show(f"{name.capitalize():8} {manager.our_node_id.hex()}")
            address = NodeAddress(managers["alice"].our_node_id, "127.0.0.1", port)
            story.check(port > 0, f"Alice listens on 127.0.0.1 port {port}. She is dialled as")
            story.show(str(address))

            async with open_peer_nursery(managers["bob"]) as bob:
                to_alice, to_bob = await _demo_meeting(story, alice, news, bob, address)
                await _demo_pings(story, to_alice, to_bob)
                await _demo_greeting(story, to_alice, to_bob)
                async with open_peer_nursery(managers["mallory"]) as mallory:
                    await _demo_garbage(story, news, mallory, address)
                    story.step("Nobody else has noticed")
                    rtt = await to_alice.ping()
                    here = list(alice.peers) == [bob.manager.our_node_id]
                    story.check(here, f"Bob is still Alice's peer, and his ping takes {milliseconds(rtt)} ms")

                story.step("Bob leaves")
                story.tell("Leaving his `async with` block says goodbye to his peers, and waits until it is written.")
            await _demo_goodbye(story, alice, news, bob.manager.our_node_id)
            story.step("Alice leaves")
        story.check(not alice.peers and not await _accepts(port), f"no peer is left, and nobody listens on port {port}")
    click.echo("\nAll of this really happened. The README shows how to do it in a program of yours.")


async def _next(events: Any, kind: type[T]) -> T:
    """The next event, which has to be of this kind."""
    event = await anext(events)
    if not isinstance(event, kind):
        raise TriolightError(f"expected {kind.__name__}, and there was {event}")
    return event


async def _demo_meeting(
    story: _Story, alice: PeerNursery, news: Any, bob: PeerNursery, address: NodeAddress
) -> tuple[Peer, AnyPeer]:
    story.step("Bob dials Alice")
    story.tell(
        "First TCP. Then the handshake of BOLT 8, three short messages: it proves to Bob that this is Alice, to Alice "
        "that this is Bob, and from then on all bytes are encrypted. Then each says Init, with the features it offers."
    )
    began = trio.current_time()
    to_alice = await bob.connect(address)
    story.check(
        to_alice.node_id == alice.manager.our_node_id,
        f"Bob is connected with Alice after {milliseconds(trio.current_time() - began)} ms",
    )
    to_bob = (await _next(news, PeerConnected)).peer
    story.check(
        to_bob.node_id == bob.manager.our_node_id and to_bob.inbound,
        f"Alice has learnt who dialled her, and his Init: features {offered(to_bob.features)}",
    )
    return to_alice, to_bob


async def _demo_pings(story: _Story, to_alice: Peer, to_bob: AnyPeer) -> None:
    story.step("Bob pings Alice")
    story.tell("A ping asks for a pong of so many bytes. The round trip is the whole way through both nodes.")
    for size in (0, 0, 0, 1000, LARGEST_PONG):
        rtt = await to_alice.ping(size)
        story.check(rtt > 0, f"pong of {size:5} bytes after {milliseconds(rtt)} ms")
    ours, hers = to_alice.statistics(), to_bob.statistics()
    story.check(
        ours.messages_sent == hers.messages_received == 6 and ours.pings_outstanding == 0,
        f"Bob has sent {ours.messages_sent} messages, Init and 5 pings, and Alice has received as many",
    )


async def _demo_greeting(story: _Story, to_alice: Peer, to_bob: AnyPeer) -> None:
    story.step("A message of our own")
    story.tell(
        f"Bob and Alice know a message that no BOLT defines, type {Greeting.type}. Whoever wants messages subscribes "
        "to them by their class."
    )
    async with to_bob.subscribe(Greeting) as alice_inbox, to_alice.subscribe(Greeting) as bob_inbox:
        await to_alice.send(Greeting(text=b"Hello, Alice!"))
        heard = await anext(alice_inbox)
        story.check(heard == Greeting(text=b"Hello, Alice!"), f"Alice gets {heard.text.decode()!r}")
        await to_bob.send(Greeting(text=b"Hello, Bob!"))
        heard = await anext(bob_inbox)
        story.check(heard == Greeting(text=b"Hello, Bob!"), f"Bob gets {heard.text.decode()!r}")


async def _demo_garbage(story: _Story, news: Any, mallory: PeerNursery, address: NodeAddress) -> None:
    story.step("Mallory sends garbage")
    story.tell(
        "Her handshake and Init are correct, what follows is not. No connection ends without a reason: the peer gets a "
        "warning that names it, and it is the same in our log, in our events, and for whoever waits for the peer."
    )
    for what, garbage, code in (
        (
            "a message of a type that Alice does not know, an even one (odd ones may be ignored, even ones must not)",
            UnknownMessage(39998, b"do as I say"),
            DisconnectCode.UNKNOWN_EVEN_MESSAGE,
        ),
        (
            "a ping that says it has 500 bytes, and has 3",
            UnknownMessage(Ping.type, bytes.fromhex("0000 01f4 abcdef")),
            DisconnectCode.MALFORMED_MESSAGE,
        ),
    ):
        async with mallory.subscribe(Warning) as warnings:
            to_alice = await mallory.connect(address)
            to_mallory = (await _next(news, PeerConnected)).peer
            story.check(to_mallory.node_id == mallory.manager.our_node_id, "Mallory is connected with Alice. She sends")
            story.show(what)
            await to_alice.send(garbage)
            ended = await _next(news, PeerDisconnected)
            story.check(
                ended.peer is to_mallory and ended.reason.code is code and ended.reason.by is Side.US,
                f"Alice has ended it: {ended.reason}",
            )
            _, warning = await anext(warnings)
            words = warning.data.decode("ascii")
            story.check(words == ended.reason.message, f"Mallory was told: '{words}'")
            reason = await to_alice.wait_closed()
            story.check(reason.code is DisconnectCode.PEER_CLOSED, f"Mallory's side of it: {reason}")


async def _demo_goodbye(story: _Story, alice: PeerNursery, news: Any, bob: bytes) -> None:
    ended = await _next(news, PeerDisconnected)
    story.check(
        ended.peer.node_id == bob and ended.reason.by is Side.PEER and "shutting down" in ended.reason.message,
        f"Alice has heard why he went: {ended.reason}",
    )
    story.check(not alice.peers, "Alice has no peers any more")


async def _accepts(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
