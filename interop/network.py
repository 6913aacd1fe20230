"""A Lightning network on one machine: three LNDs with announced channels, on the chain of one btcd.

alice -- bob -- carol -- alice. What a node says of itself and what it asks for its channels differ from node to node.
`describe_graph` is what an LND knows, in the words of BOLT 7; `said_of` is the same of messages, `known` of a graph of
ours: so one `==` compares.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio

from interop.btcd import Btcd, StartedBtcd, script_of, start_btcd
from interop.lnd_node import LndNode, LndRefuses, StartedLnd, open_lnd, start_lnd
from interop.programs import free_ports
from triolight import NodeAddress, wire
from triolight.address import readable
from triolight.features import Features
from triolight.gossip import NetworkGraph, addresses_of, direction, disabled, display_alias
from triolight.messages import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from triolight.wire import ShortChannelId

CONFIRMATIONS: Final = 6
"""What LND wants before it announces a channel."""
_INBOUND_FEE: Final = 55555
"""The record in which LND's channel_updates have a fee of its own (bLIP 18)."""
_UPDATE: Final = 138
"""Bytes of a channel_update without more behind it, its type among them."""
_EACH: Final = (
    "--trickledelay=1000",
    "--bitcoin.defaultchanconfs=1",
    "--healthcheck.chainbackend.attempts=0",
    "--caches.rpc-graph-cache-duration=0s",  # what it says of its graph is a minute old without this
)
_COIN: Final = 50_000_000


@dataclass(frozen=True)
class Policy:
    """One direction of a channel."""

    timestamp: int
    disabled: bool
    cltv_expiry_delta: int
    htlc_minimum_msat: int
    htlc_maximum_msat: int
    fee_base_msat: int
    fee_proportional_millionths: int
    inbound_fee: tuple[int, int]
    """LND's own: base, and proportional."""


@dataclass(frozen=True)
class Channel:
    node_id_1: bytes
    node_id_2: bytes
    policies: tuple[Policy | None, Policy | None]


@dataclass(frozen=True)
class Node:
    timestamp: int
    alias: str
    color: str
    addresses: tuple[str, ...]
    features: frozenset[int]


@dataclass(frozen=True)
class Graph:
    channels: dict[ShortChannelId, Channel]
    nodes: dict[bytes, Node]
    """Those that have announced themselves."""


@dataclass(frozen=True)
class Funding:
    """What an LND knows of a channel, and its messages do not say."""

    channel_point: str
    """Of the funding output: txid, colon, index."""
    capacity: int
    """In satoshis."""


async def describe_graph(lnd: LndNode) -> Graph:
    return described(await lnd.call("GET", "/v1/graph"))


def described(found: dict[str, Any]) -> Graph:
    """What LND's JSON says. Without nodes that have no channel: itself an LND says also then."""
    channels = {
        ShortChannelId(edge["channel_id"]): Channel(
            bytes.fromhex(edge["node1_pub"]),
            bytes.fromhex(edge["node2_pub"]),
            (_policy(edge["node1_policy"]), _policy(edge["node2_policy"])),
        )
        for edge in found["edges"]
    }
    ends = {end for channel in channels.values() for end in (channel.node_id_1, channel.node_id_2)}
    nodes = {
        bytes.fromhex(node["pub_key"]): Node(
            node["last_update"],
            node["alias"],
            node["color"],
            tuple(address["addr"] for address in node["addresses"]),
            frozenset(map(int, node["features"])),
        )
        for node in found["nodes"]
        if node["last_update"]
    }
    return Graph(channels, {node_id: node for node_id, node in nodes.items() if node_id in ends})


def known(graph: NetworkGraph) -> Graph:
    """What a graph of ours holds."""
    messages: list[ChannelAnnouncement | ChannelUpdate | NodeAnnouncement] = []
    for channel in graph.channels.values():
        messages += [channel.announcement, *(one for one in channel.updates if one is not None)]
    messages += [node.announcement for node in graph.nodes.values() if node.announcement is not None]
    return said_of(messages)


async def fundings(lnd: LndNode) -> dict[ShortChannelId, Funding]:
    found = await lnd.call("GET", "/v1/graph")
    return {
        ShortChannelId(edge["channel_id"]): Funding(edge["chan_point"], int(edge["capacity"]))
        for edge in found["edges"]
    }


def _policy(said: dict[str, Any] | None) -> Policy | None:
    if said is None:
        return None
    return Policy(
        said["last_update"],
        said["disabled"],
        said["time_lock_delta"],
        int(said["min_htlc"]),
        int(said["max_htlc_msat"]),
        int(said["fee_base_msat"]),
        int(said["fee_rate_milli_msat"]),
        (said["inbound_fee_base_msat"], said["inbound_fee_rate_milli_msat"]),
    )


def said_of(messages: Iterable[ChannelAnnouncement | ChannelUpdate | NodeAnnouncement]) -> Graph:
    """What they say together, the newest last. They are not verified here, and an update comes after its channel."""
    graph = Graph({}, {})
    for message in messages:
        match message:
            case ChannelAnnouncement():
                known = graph.channels.get(message.short_channel_id)
                policies = known.policies if known else (None, None)
                graph.channels[message.short_channel_id] = Channel(message.node_id_1, message.node_id_2, policies)
            case ChannelUpdate():
                channel = graph.channels[message.short_channel_id]
                first, second = channel.policies
                said = _policy_of(message)
                policies = (said, second) if direction(message) == 0 else (first, said)
                graph.channels[message.short_channel_id] = Channel(channel.node_id_1, channel.node_id_2, policies)
            case NodeAnnouncement():
                graph.nodes[message.node_id] = Node(
                    message.timestamp,
                    display_alias(message.alias),
                    f"#{message.rgb_color.hex()}",
                    tuple(map(readable, addresses_of(message))),
                    frozenset(Features.from_bytes(message.features)),
                )
    return graph


def _policy_of(update: ChannelUpdate) -> Policy:
    return Policy(
        update.timestamp,
        disabled(update),
        update.cltv_expiry_delta,
        update.htlc_minimum_msat,
        update.htlc_maximum_msat,
        update.fee_base_msat,
        update.fee_proportional_millionths,
        inbound_fee(update),
    )


def inbound_fee(update: ChannelUpdate) -> tuple[int, int]:
    """LND's own record behind the fields of BOLT 7: base and proportional, both with a sign."""
    data = update.encode()
    at, end = _UPDATE, len(data)
    while at < end:
        kind, at = wire.read_bigsize(data, at, end)
        length, at = wire.read_bigsize(data, at, end)
        if kind == _INBOUND_FEE:
            base, ppm = (int.from_bytes(data[at + half : at + half + 4], "big", signed=True) for half in (0, 4))
            return base, ppm
        at += length
    return 0, 0


async def connect(lnd: LndNode, address: NodeAddress) -> None:
    """It dials; if it was connected already, that is well too."""
    try:
        await lnd.dial(address.node_id, address.port, address.host)
    except LndRefuses as error:
        if "already connected" not in str(error):
            raise


async def change_fee(
    lnd: LndNode,
    channel_point: str,
    *,
    base_msat: int,
    ppm: int,
    cltv_expiry_delta: int = 80,
    inbound_fee: tuple[int, int] | None = None,
) -> None:
    """What it asks from now on for one of its own channels. LND passes on ten changes of a direction in a minute."""
    txid, _, index = channel_point.partition(":")
    body: dict[str, Any] = {
        "chan_point": {"funding_txid_str": txid, "output_index": int(index)},
        "base_fee_msat": str(base_msat),
        "fee_rate_ppm": ppm,
        "time_lock_delta": cltv_expiry_delta,
    }
    if inbound_fee is not None:
        body["inbound_fee"] = {"base_fee_msat": inbound_fee[0], "fee_rate_ppm": inbound_fee[1]}
    failed = (await lnd.call("POST", "/v1/chanpolicy", body))["failed_updates"]
    if failed:
        raise LndRefuses(str(failed))


async def close_channel(lnd: LndNode, channel_point: str, *, force: bool = False) -> str:
    """The txid of what spends it, as people see it. The channel is gone when that is mined."""
    txid, _, index = channel_point.partition(":")
    how = "force=true" if force else "sat_per_vbyte=2"  # alone, its fee stands in what was signed long ago
    said = await lnd.call("DELETE", f"/v1/channels/{txid}/{index}?{how}", stream=True)
    return base64.b64decode(said["close_pending"]["txid"])[::-1].hex()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """LND says to nobody when it has learned something: it has to be asked."""
    while True:
        if await holds():
            return
        await trio.sleep(0.2)


class Network:
    def __init__(self, btcd: Btcd, alice: LndNode, bob: LndNode, carol: LndNode) -> None:
        self.btcd, self.alice, self.bob, self.carol = btcd, alice, bob, carol

    @property
    def nodes(self) -> tuple[LndNode, LndNode, LndNode]:
        return self.alice, self.bob, self.carol

    @staticmethod
    def address(lnd: LndNode) -> NodeAddress:
        return NodeAddress(lnd.node_id, "127.0.0.1", lnd.port)

    async def mine(self, blocks: int, *others: LndNode) -> None:
        """Returns when all three, and others that are here, have seen the last one."""
        await self.btcd.mine(blocks)
        height = await self.btcd.height()
        for lnd in (*self.nodes, *others):

            async def has_seen_it(lnd: LndNode = lnd) -> bool:
                info = await lnd.info()
                return bool(info["synced_to_chain"]) and info["block_height"] == height

            await until(has_seen_it)

    async def fund(self, *nodes: LndNode, coins: int = 4) -> None:
        """Coins of half a bitcoin to their wallets, in a block."""
        outputs: list[tuple[bytes, int]] = []
        for lnd in nodes:
            address = (await lnd.call("GET", "/v1/newaddress"))["address"]
            outputs += [(script_of(address), _COIN)] * coins
        await self.btcd.pay(*outputs)
        await self.mine(1, *(lnd for lnd in nodes if lnd not in self.nodes))

        for lnd in nodes:

            async def has_coins(lnd: LndNode = lnd) -> bool:
                balance = await lnd.call("GET", "/v1/balance/blockchain")
                return int(balance["confirmed_balance"]) >= coins * _COIN

            await until(has_coins)

    async def open_channel(
        self, opener: LndNode, other: LndNode, satoshis: int, **options: Any
    ) -> tuple[ShortChannelId, str]:
        """Its short_channel_id and its channel point, when all three know it, from both ends, in the same words.

        One at a time: an LND with two new channels announces itself twice in a second, and what it then says of itself
        is not what the others have heard last.
        """
        await connect(opener, self.address(other))
        body = {
            "node_pubkey": base64.b64encode(other.node_id).decode(),
            "local_funding_amount": str(satoshis),
            "push_sat": str(satoshis // 2),
            "sat_per_vbyte": "2",
            **options,
        }
        said = await opener.call("POST", "/v1/channels", body)
        point = f"{base64.b64decode(said['funding_txid_bytes'])[::-1].hex()}:{said['output_index']}"
        await self.mine(CONFIRMATIONS)
        found: list[ShortChannelId] = []

        async def announced() -> bool:
            found[:] = [key for key, one in (await fundings(self.alice)).items() if one.channel_point == point]
            return bool(found) and await self.agrees()

        await until(announced)
        return found[0], point

    async def agrees(self) -> bool:
        """Whether all three know the same graph, and in it both directions of each channel, and its nodes."""
        graph, *others = [await describe_graph(lnd) for lnd in self.nodes]
        return all(graph == other for other in others) and all(
            None not in channel.policies and {channel.node_id_1, channel.node_id_2} <= graph.nodes.keys()
            for channel in graph.channels.values()
        )

    def open_another(self, *options: str) -> AbstractAsyncContextManager[LndNode]:
        """An LND on the same chain, that knows nobody."""
        return open_lnd(*_EACH, *options, chain=self.btcd.lnd_options)


@contextmanager
def open_network() -> Iterator[Network]:
    """Everything ends with the block."""
    with ExitStack() as stack:
        started = stack.enter_context(start_btcd())

        async def build() -> Network:
            with trio.fail_after(240):
                return await _build(started, stack)

        yield trio.run(build)


async def _build(started: StartedBtcd, stack: ExitStack) -> Network:
    btcd = await started.ready()
    ports = free_ports(3)
    options = {
        "alice": (
            "--alias=alice \u2607",
            "--color=#ff0080",
            f"--externalip=127.0.0.1:{ports[0]}",
            "--bitcoin.basefee=1000",
            "--bitcoin.feerate=1",
            "--bitcoin.timelockdelta=80",
        ),
        "bob": (
            "--alias=bob",
            "--color=#00ff7f",
            f"--externalip=127.0.0.1:{ports[1]}",
            f"--externalip=[::1]:{ports[1]}",
            "--bitcoin.basefee=0",
            "--bitcoin.feerate=250",
            "--bitcoin.timelockdelta=40",
            "--bitcoin.minhtlc=2000",
        ),
        # Without an address.
        "carol": (
            "--alias=carol, whose alias has 32 bytes.",
            "--color=#000000",
            "--bitcoin.basefee=5000",
            "--bitcoin.feerate=2500",
            "--bitcoin.timelockdelta=144",
        ),
    }
    lnds: dict[str, LndNode] = {}

    async def run(name: str, started: StartedLnd) -> None:
        lnds[name] = await started.ready()

    async with trio.open_nursery() as nursery:
        for (name, own), port in zip(options.items(), ports, strict=True):
            command = start_lnd(*btcd.lnd_options, *_EACH, *own, listen=port)
            nursery.start_soon(run, name, stack.enter_context(command))
    network = Network(btcd, lnds["alice"], lnds["bob"], lnds["carol"])
    # Before there is anything to tell: what is new then reaches all three.
    for dialling, dialled in (
        (network.alice, network.bob),
        (network.bob, network.carol),
        (network.carol, network.alice),
    ):
        await connect(dialling, network.address(dialled))
    await network.fund(*network.nodes)
    await network.open_channel(network.alice, network.bob, 1_000_000)
    _, point = await network.open_channel(network.bob, network.carol, 2_500_000)
    # One policy with what only LND has.
    await change_fee(network.bob, point, base_msat=1, ppm=99, cltv_expiry_delta=33, inbound_fee=(-7, -50))
    await network.open_channel(network.carol, network.alice, 16_000_000, min_htlc_msat="5000")
    return network
