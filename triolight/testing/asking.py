"""How a node that is asked is talked to: dialled, met, alive or closed; and what either says about a rule.

Each conversation is one short connection with a key of its own that is forgotten. Every wait has one patience that
nothing renews. What fails before the rule is touched is `Unclear`, and accuses nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import trio

from triolight.address import NodeAddress
from triolight.connection import init_features
from triolight.features import Features
from triolight.messages import Error, Init, Message, Ping, Pong, Warning
from triolight.testing.scripted import ScriptedPeer, ScriptFailed, scripted_peer
from triolight.text import printable, quoted, system_words

ALIVE: Final = 77
"""Bytes of a pong that nothing else asks for."""
PATIENT_MESSAGES: Final = 1000
"""How much else a node may say before that pong."""


class Verdict(StrEnum):
    """What a node makes of a rule."""

    KEEPS = "keeps"
    BREAKS = "breaks"
    MAY = "may"
    """The BOLT leaves it open: what it does is worth knowing, and neither right nor wrong."""
    UNKNOWN = "?"
    """It could not be asked, or the answer says nothing about the rule."""


class Unclear(Exception):
    """What has happened says nothing about the rule."""


@dataclass
class Node:
    """Where to dial, and what its Init said."""

    address: NodeAddress
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]]
    patience: float
    init: Init | None = None
    wrong: str | None = "it was not asked"
    """What ends a conversation in which we do nothing wrong; None: nothing does."""

    @asynccontextmanager
    async def dialled(self, secret: bytes | None = None) -> AsyncGenerator[ScriptedPeer, None]:
        """Before the handshake. OSError if there is no connection, Unclear if there is none in time."""
        try:
            with trio.fail_after(self.patience):
                stream = await self.dial(self.address.host, self.address.port)
        except trio.TooSlowError:
            raise Unclear(f"no connection within {self.patience:g} seconds") from None
        async with scripted_peer(
            stream,
            self.address.node_id,
            secret=secret or secrets.token_bytes(32),
            ephemeral=secrets.token_bytes(32),
            handshake=False,
            patience=self.patience,
        ) as peer:
            yield peer

    @asynccontextmanager
    async def script(self, secret: bytes | None = None) -> AsyncGenerator[ScriptedPeer, None]:
        """After the handshake, which has been good before: Unclear if it is not now."""
        async with self.dialled(secret) as peer:
            try:
                await peer.shake_hands()
            except ScriptFailed as error:
                raise Unclear(f"no handshake: {first_line(error)}") from None
            yield peer

    async def init_of(self, peer: ScriptedPeer) -> Init:
        """Its Init, first of all it says; the first one is kept. Unclear if there is none."""
        try:
            theirs = await peer.expect(Init)
        except ScriptFailed as error:
            raise Unclear(f"no Init: {first_line(error)}") from None
        self.init = self.init or theirs
        return theirs

    @asynccontextmanager
    async def met(
        self, features: Features | None = None, *, secret: bytes | None = None
    ) -> AsyncGenerator[ScriptedPeer, None]:
        """After both Inits."""
        async with self.script(secret) as peer:
            theirs = await self.init_of(peer)
            # What a node wants of us it says itself; with less some close before they are asked anything.
            await peer.send(Init(features=acceptable(theirs, features).to_bytes()))
            yield peer

    @asynccontextmanager
    async def talking(self) -> AsyncGenerator[ScriptedPeer, None]:
        """After both Inits and a pong: if it closes now, then for what comes next."""
        async with self.met() as peer:
            wrong = await is_alive(peer)
            if wrong is not None:
                raise Unclear(f"it does not even answer a ping: {wrong}")
            yield peer

    def offers(self, name: str) -> bool:
        return self.init is not None and init_features(self.init).offers(name)


def acceptable(theirs: Init, more: Features | None = None) -> Features:
    """What an Init of ours offers so that a node with this Init goes on: its even bits as odd ones, and `more`."""
    wanted = Features.named("option_data_loss_protect", "var_onion_optin", "option_static_remotekey", "payment_secret")
    for bit in init_features(theirs):
        if bit % 2 == 0:
            wanted |= Features((bit + 1,))
    return wanted | (more or Features())


async def until_pong(peer: ScriptedPeer, *telling: type[Message]) -> tuple[str | None, list[str]]:
    """Listens until our ping is answered: None, or what happened instead; and the first of its words before that, with
    the names of the messages of `telling`. One patience for all of it; whatever else it says is passed over."""
    said: list[str] = []
    with trio.move_on_after(peer.patience):
        try:
            for _ in range(PATIENT_MESSAGES):
                message = await peer.receive()
                if message is None:
                    return "closed", said
                if message == Pong(ignored=bytes(ALIVE)):
                    return None, said
                if isinstance(message, Warning | Error) and len(said) < 3:
                    said.append(f"{message.name} {quoted(message.data, 60)}")
                elif isinstance(message, telling) and len(said) < 3:
                    said.append(message.name)
        except ScriptFailed as error:
            return first_line(error), said
        return f"no pong among {PATIENT_MESSAGES} messages", said
    return f"no pong within {peer.patience:g} seconds", said


async def is_alive(peer: ScriptedPeer) -> str | None:
    """None if a ping is answered; else what happened instead."""
    try:
        await peer.send(Ping(num_pong_bytes=ALIVE))
    except ScriptFailed as error:
        return first_line(error)
    return (await until_pong(peer))[0]


async def closing_words(peer: ScriptedPeer) -> str | None:
    """What it said last, if it closes; None if it does not."""
    try:
        said = await peer.expect_closed()
    except ScriptFailed:
        return None
    words = [one for one in said if isinstance(one, Warning | Error)]
    if not words:
        return "closed without a word"
    return f"closed after {words[-1].name} {quoted(words[-1].data, 80)}"


def first_line(error: BaseException) -> str:
    """A failure of a script has what went before behind it; of a dial, Trio's text has not what the system says."""
    words = system_words(error) if isinstance(error, OSError) else str(error)
    return printable(words.partition("\n")[0], 120, escaped=True)


async def must_live(peer: ScriptedPeer) -> tuple[Verdict, str]:
    """The rule is kept if it goes on."""
    wrong = await is_alive(peer)
    return (Verdict.KEEPS, "goes on") if wrong is None else (Verdict.BREAKS, wrong)


async def must_close(peer: ScriptedPeer) -> tuple[Verdict, str]:
    """The rule is kept if it closes, with words or without."""
    how = await closing_words(peer)
    return (Verdict.KEEPS, how) if how is not None else (Verdict.BREAKS, "stays connected")


async def may(peer: ScriptedPeer, *telling: type[Message]) -> tuple[Verdict, str]:
    """Either way is allowed: what it does, and what it says first; messages of `telling` by their names."""
    try:
        await peer.send(Ping(num_pong_bytes=ALIVE))
    except ScriptFailed as error:
        return Verdict.MAY, first_line(error)
    how, said = await until_pong(peer, *telling)
    return Verdict.MAY, ", ".join([*said, "goes on" if how is None else how])
