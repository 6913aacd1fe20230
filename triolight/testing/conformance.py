"""The shipped check of a node that runs somewhere: it is met once, then asked each question in turn.

`check_peer` asks over TCP, or whatever `dial` gives. Each question has one deadline that nothing renews. What could not
be asked is told as that, and accuses nobody. It needs no pytest.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from triolight.address import NodeAddress, descriptor_of
from triolight.errors import DecodeError, DisconnectCode, DisconnectReason, Side
from triolight.reasons import ANOTHER_NODE
from triolight.shell.peer import ConnectError
from triolight.testing.asking import Node, Unclear, first_line
from triolight.testing.asking import Verdict as Verdict
from triolight.testing.questions import CHECKS, THOROUGH, Question
from triolight.testing.scripted import ScriptFailed
from triolight.text import place, printable
from triolight.ways import way_of

PATIENCE_SECONDS: Final = 10.0
"""For a dial, for an answer, and for a connection to be closed."""
QUESTION_PATIENCES: Final = 3
"""So many patiences for all of one question: a dial, a handshake and an answer may each be slow, not everything."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule and what the node did."""

    rule: str
    where: str
    """The BOLT that has the rule."""
    verdict: Verdict
    seen: str

    def __str__(self) -> str:
        return f"{self.verdict:<7} {self.where:<7} {self.rule}: {self.seen}"


async def check_peer(
    address: NodeAddress,
    *,
    patience: float = PATIENCE_SECONDS,
    thorough: bool = False,
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
) -> AsyncGenerator[Finding, None]:
    """Asks a node each question in turn: an asynchronous iterator of findings.

    About fifty connections, each with a new key, never more than two at a time, and a few messages on each; on one
    1,100 that are to be ignored. `thorough` asks also what takes minutes (510 pings, 8 a second; a handshake and a
    conversation that stop) and what may disturb (an open_channel, which is then taken back).

    At most `patience` seconds for a dial, for an answer and for a close, and, whatever the node does, three times that
    for one question (one has 2 seconds more, the thorough ones their minutes): a node that reads nothing, or dribbles,
    holds it up no longer.

    OSError if the node cannot be reached at all. ConnectError, before the first finding, if the first handshake does
    not finish within `patience`: then it is not this node, or none, and breaks no rules; and for an onion name without
    a `dial` that goes through a proxy. Later, a dial or a handshake that fails and a question that takes too long are
    findings, "?", and the next question is asked. ValueError for a host that nobody can dial. Cancellation closes the
    connections that are open.
    """
    descriptor_of(address.host, address.port)
    refusal = way_of(dial).refusal(address.host)
    if refusal is not None:
        raise ConnectError(refusal)
    node = Node(address, dial, patience)
    try:
        await _meet(node)
    except UnicodeError as error:
        # A name with a label that is empty or too long, which no resolver is asked for.
        raise _failed(DisconnectCode.RESOLVE_FAILED, Side.US, f"{address.host}: {first_line(error)}") from None
    for question in (*CHECKS, *THOROUGH) if thorough else CHECKS:
        verdict, seen = await _asked(node, question)
        yield Finding(question.rule, question.where, verdict, seen)


async def _asked(node: Node, question: Question) -> tuple[Verdict, str]:
    if question.closes and node.wrong is not None:
        return Verdict.UNKNOWN, f"it does not talk to us anyway: {node.wrong}"
    seconds = QUESTION_PATIENCES * node.patience + question.seconds
    with trio.move_on_after(seconds):
        try:
            return await question.ask(node)
        except (ScriptFailed, DecodeError) as error:
            return Verdict.BREAKS, first_line(error)
        except (Unclear, OSError) as error:
            return Verdict.UNKNOWN, first_line(error)
    return Verdict.UNKNOWN, f"not done within {seconds:g} seconds"


def _failed(code: DisconnectCode, by: Side, words: str) -> ConnectError:
    return ConnectError(DisconnectReason(code, by, words))


async def _meet(node: Node) -> None:
    """One good handshake. ConnectError if it does not finish: what no node of this id answers, accuses nobody."""
    where = printable(place(node.address.host, node.address.port), 280)
    with suppress(Unclear), trio.move_on_after(node.patience):
        async with node.dialled() as peer:
            peer.patience = math.inf  # one deadline for all of it
            try:
                await peer.send_bytes(peer.act_one())
                act = await peer.receive_bytes(50)
            except ScriptFailed:
                words = f"{where} hung up in the handshake: {ANOTHER_NODE}"
                raise _failed(DisconnectCode.CLOSED_IN_HANDSHAKE, Side.PEER, words) from None
            try:
                await peer.send_bytes(peer.answer_act(act))
            except ScriptFailed as error:
                raise _failed(DisconnectCode.ACT_TWO_FAILED, Side.US, f"{where}: {first_line(error)}") from None
            return
    words = f"no TCP connection and handshake with {where} within {node.patience:g} seconds"
    raise _failed(DisconnectCode.HANDSHAKE_TIMEOUT, Side.US, words)
