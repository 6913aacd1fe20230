"""FleetConfig: what a back wants of its fronts, as the manager of one is made for it. Messages that travel are bytes.

Who has a manager for one configuration cannot serve another one: `wanted` says what must not change.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

import trio

from triolight.cluster.bus import EngineAway
from triolight.cluster.gossip import QUERIES, FrontGossip
from triolight.cluster.lanes import AGAIN_SECONDS
from triolight.cluster.records import Config
from triolight.features import Features
from triolight.gossip.graph import NetworkGraph
from triolight.handlers import ChannelMessageHandler, MessageHandler, RoutingMessageHandler
from triolight.messages import Error, Init, Message, Ping, Pong, Registry, Warning
from triolight.messages.registry import opaque

__all__ = ["FleetConfig", "fleet_config"]

CONTROL: Final[tuple[type[Message], ...]] = (Init, Error, Warning, Ping, Pong)
"""What a front handles itself. Errors and warnings of peers travel up as well."""


class _Offers(ChannelMessageHandler):
    """Offers what the back offers, and answers nothing: the back does."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self._features = features

    def provided_init_features(self, node_id: bytes) -> Features:
        return self._features

    def provided_node_features(self) -> Features:
        return Features()


class _Silent(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features()


class FleetConfig:
    """What a back wants of its fronts: for the manager of one."""

    def __init__(self, config: Config) -> None:
        self.record: Final = config
        self.node_id: Final = config.node_id
        self.networks: Final = config.networks
        queries = {cls.type for cls in QUERIES}
        travel = [one for one in config.types if one not in queries]
        self.messages: Final[Registry] = opaque(travel) | (*CONTROL, *QUERIES)
        """Messages that travel, each as its bytes; and those that a front handles itself, or may."""

    def handlers(self, gossip: FrontGossip | NetworkGraph | None = None) -> MessageHandler:
        """Handlers that offer what the back offers.

        With a graph, the front answers queries and filters from it, and of announcements and updates the first copy
        alone travels to the back. A `FrontGossip` of the graph is for who fills it meanwhile, and tells of changes.
        Without one, the back gets all of that.
        """
        if isinstance(gossip, NetworkGraph):
            gossip = FrontGossip(gossip)
        return MessageHandler(_Offers(Features.from_bytes(self.record.features)), gossip or _Silent())


def wanted(config: Config) -> tuple[object, ...]:
    """What a manager is made for, and cannot change."""
    return config.features, config.networks, config.types, config.unknown_odd


async def fleet_config(
    url: str,
    *,
    fleet: str = "main",
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    insecure: bool = False,
) -> FleetConfig:
    """What a fleet's back wants of its fronts, for the manager of one. Waits for there to be a back.

    ValueError for a URL that is none, and for another host than this one without TLS or a user, unless it is said to be
    `insecure`; ModuleNotFoundError without the extra `cluster`.
    """
    from triolight.cluster.redis import open_bus  # who brings a bus of its own needs no client

    async with open_bus(url, fleet, password=password, tls=tls, insecure=insecure) as bus:
        while True:
            with suppress(EngineAway):
                config = await bus.read_config()
                if config is not None:
                    return FleetConfig(config)
            await trio.sleep(AGAIN_SECONDS)
