"""Routes over a graph: the fewest nodes, all of which take onion messages."""

from __future__ import annotations

from tests.support import gossip
from tests.support.gossip import IDS, NOW, scid
from triolight.address import Address, DnsAddress, IPv4Address, write_address
from triolight.chains import REGTEST
from triolight.features import Features
from triolight.gossip import NetworkGraph
from triolight.onion import GraphRoutes

TAKES = Features.named("option_onion_messages").to_bytes()


def graph_of(*pairs: tuple[int, int], mute: tuple[int, ...] = (), disabled: tuple[int, ...] = ()) -> NetworkGraph:
    """Channels between these nodes, by their numbers; of some the first end has disabled its direction."""
    graph = NetworkGraph(REGTEST)
    for number, (first, second) in enumerate(pairs, 1):
        flags = 2 if number in disabled else 0
        graph.load(
            gossip.channel(scid(number), first, second),
            [
                gossip.update(scid(number), 0, NOW, signer=first, channel_flags=flags),
                gossip.update(scid(number), 1, NOW, signer=second),
            ],
        )
    for number in {one for pair in pairs for one in pair} - {*mute}:
        graph.load_node(gossip.node(number, features=TAKES))
    return graph


def route(graph: NetworkGraph, to: int, *peers: int) -> list[int] | None:
    found = GraphRoutes(graph).route(IDS[to], [IDS[one] for one in peers])
    return None if found is None else [IDS.index(one) for one in found]


def test_o35_the_fewest_nodes_from_a_peer() -> None:
    graph = graph_of((0, 1), (1, 2), (2, 3), (0, 4), (3, 4))
    assert route(graph, 3, 0) == [0, 4, 3]
    assert route(graph, 3, 0, 2) == [2, 3]
    assert route(graph, 3, 3) == [3]
    assert route(graph, 3, 7) is None
    assert route(graph, 7, 0) is None
    assert route(graph, 3) is None


def test_o34_o35_who_does_not_take_them_passes_none_on() -> None:
    graph = graph_of((0, 1), (1, 2), (2, 3), (0, 4), (3, 4), mute=(4,))
    assert route(graph, 3, 0) == [0, 1, 2, 3]
    # Whom it is for may have announced nothing, and a peer has told us itself.
    assert route(graph, 4, 0) == [0, 4]
    assert route(graph, 3, 4) == [4, 3]


def test_o35_a_direction_that_is_disabled_is_no_way() -> None:
    graph = graph_of((0, 1), (1, 2), disabled=(2,))
    assert route(graph, 2, 0) is None
    assert route(graph, 0, 2) == [2, 1, 0]
    without = NetworkGraph(REGTEST)
    without.load(gossip.channel(scid(1), 0, 1), [gossip.update(scid(1), 0, NOW)])
    assert route(without, 1, 0) == [0, 1]
    assert route(without, 0, 1) is None


def test_o19_ends_of_channels() -> None:
    routes = GraphRoutes(graph_of((0, 1)))
    assert (routes.resolve(scid(1), 0), routes.resolve(scid(1), 1)) == (IDS[0], IDS[1])
    assert routes.resolve(scid(9), 0) is None


def test_where_a_node_can_be_dialled() -> None:
    graph = graph_of((0, 1), mute=(0,))
    places: list[Address] = [
        IPv4Address("10.0.0.1", 1),
        *(IPv4Address(f"1.2.3.{one}", 9735) for one in range(5)),
        DnsAddress("a.b", 1),
    ]
    graph.load_node(gossip.node(0, addresses=b"".join(write_address(one) for one in places)))
    found = GraphRoutes(graph).addresses(IDS[0])
    assert [(one.node_id, one.host) for one in found] == [(IDS[0], f"1.2.3.{one}") for one in range(4)]
    assert GraphRoutes(graph).addresses(IDS[5]) == ()


def test_d20_no_announced_address_leads_into_a_network_of_ones_own() -> None:
    graph = graph_of((0, 1), mute=(0,))
    places: list[Address] = [
        IPv4Address("127.0.0.1", 1),
        IPv4Address("192.168.0.1", 1),
        DnsAddress("inside.example", 1),
    ]
    graph.load_node(gossip.node(0, addresses=b"".join(write_address(one) for one in places)))
    assert GraphRoutes(graph).addresses(IDS[0]) == ()
