"""OnionMessenger: what is passed on, what is delivered, what is answered, and what is dropped without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.support.onions import MESSAGE, key, load, random
from triolight import MessageHandler, PeerManager
from triolight.actions import IgnoreError, SendMessages
from triolight.errors import DecodeError
from triolight.features import Features
from triolight.handlers import ChannelMessageHandler, IgnoringMessageHandler, RoutingMessageHandler
from triolight.keys import SecretKey
from triolight.logger import NullLogger
from triolight.messages import EncryptedDataTlv, Init, OnionMessage, UnknownMessage
from triolight.onion.blinded import blind, blind_route
from triolight.onion.drops import Drop
from triolight.onion.layers import seal
from triolight.onion.limits import OnionLimits
from triolight.onion.messenger import NoRoute, OnionMessenger, OnionRequest, ReceivedOnion
from triolight.testing import MemoryNode, Wire
from triolight.wire import ShortChannelId

TAKES = Init(features=Features.named("option_onion_messages").to_bytes())
TAKES_NONE = Init()


class Graph:
    """What a test says is known."""

    def __init__(self) -> None:
        self.channels: dict[int, tuple[bytes, bytes]] = {}
        self.routes: dict[bytes, list[bytes]] = {}

    def resolve(self, short_channel_id: ShortChannelId, direction: int) -> bytes | None:
        ends = self.channels.get(short_channel_id)
        return None if ends is None else ends[direction]

    def route(self, node_id: bytes, peers: Iterable[bytes]) -> Sequence[bytes] | None:
        route = self.routes.get(node_id)
        return route if route and route[0] in peers else None


def into(inbox: list[ReceivedOnion]) -> Callable[[ReceivedOnion], bool]:
    """Whoever has room for every message."""

    def take(received: ReceivedOnion) -> bool:
        inbox.append(received)
        return True

    return take


class Net:
    """Messengers, joined as a test says; messages travel when it says `run`."""

    def __init__(self, count: int, **options: Any) -> None:
        self.now = 0.0
        self.graph = Graph()
        self.inbox: dict[int, list[ReceivedOnion]] = {}
        self.nodes: dict[int, OnionMessenger] = {}
        for number in range(1, count + 1):
            made = OnionMessenger(
                bytes([number]) * 32, random(number + 100), graph=self.graph, clock=lambda: self.now, **options
            )
            inbox = self.inbox[number] = []
            made.on_message = into(inbox)
            self.nodes[number] = made
        self.sent: list[tuple[int, int, OnionMessage]] = []

    def join(self, *pairs: tuple[int, int], init: Init = TAKES) -> None:
        for one, other in pairs:
            self.nodes[one].peer_connected(self.id(other), init, inbound=False)
            self.nodes[other].peer_connected(self.id(one), init, inbound=True)

    def id(self, number: int) -> bytes:
        return key(number).public_key

    def run(self) -> None:
        """Until nobody says anything more."""
        numbers = {self.id(number): number for number in self.nodes}
        while True:
            moved = False
            for number, messenger in self.nodes.items():
                for event in messenger.get_and_clear_pending_msg_events():
                    assert isinstance(event, SendMessages)
                    (message,) = event.messages
                    assert isinstance(message, OnionMessage)
                    self.sent.append((number, numbers[event.node_id], message))
                    self.nodes[numbers[event.node_id]].handle_onion_message(self.id(number), message)
                    moved = True
            if not moved:
                return

    def hops(self) -> list[tuple[int, int]]:
        return [(one, other) for one, other, _ in self.sent]

    def drop(self, at: int, message: OnionMessage, sender: int = 2) -> Drop:
        """Why this node drops a message, without a word to anybody."""
        before = self.nodes[at].statistics().dropped
        answer = self.nodes[at].handle_onion_message(self.id(sender), message)
        assert isinstance(answer, IgnoreError)
        after = self.nodes[at].statistics().dropped
        assert not list(self.nodes[at].get_and_clear_pending_msg_events())
        (drop,) = [one for one in after if after[one] != before.get(one, 0)]
        assert answer.reason == f"an onion message is dropped: {drop.value}"
        return drop


def test_to_a_peer() -> None:
    net = Net(2)
    net.join((1, 2))
    net.nodes[1].send(net.id(2), [(77, b"hello")])
    net.run()
    (received,) = net.inbox[2]
    assert received.content == (77, b"hello")
    assert (received.path_id, received.reply_path, received.sender) == (None, None, net.id(1))
    assert net.nodes[1].statistics().sent == net.nodes[2].statistics().delivered == 1
    assert not net.nodes[2].statistics().dropped


def test_o34_it_offers_onion_messages() -> None:
    offered = OnionMessenger(b"\1" * 32, random(1)).provided_init_features(b"")
    assert (
        offered
        == Features.named("option_onion_messages")
        == OnionMessenger(b"\1" * 32, random(1)).provided_node_features()
    )


def test_t5_o29_o30_a_request_is_answered_once_and_by_its_own_way() -> None:
    net = Net(3)
    net.join((1, 2), (2, 3))
    answers: list[ReceivedOnion] = []
    request = net.nodes[1].request(net.id(3), [(64, b"please")], answers.append, via=[net.id(2)])
    net.run()
    (asked,) = net.inbox[3]
    assert asked.content == (64, b"please")
    net.nodes[3].reply(asked, [(66, b"here")])
    net.run()
    (answer,) = answers
    assert answer.content == (66, b"here")
    assert answer.path_id == request.path_id
    assert net.hops() == [(1, 2), (2, 3), (3, 2), (2, 1)]
    assert net.nodes[1].statistics().answers == 1
    with pytest.raises(NoRoute, match="has been answered"):
        net.nodes[3].reply(asked, [(66, b"again")])
    # The same answer again is nobody's: its request is over.
    net.nodes[1].handle_onion_message(net.id(2), net.sent[-1][2])
    assert len(answers) == 1
    assert [one.path_id for one in net.inbox[1]] == [request.path_id]


def test_t5_o29_an_answer_that_came_another_way_is_none() -> None:
    """Whoever guesses that we have asked, and says so to our node itself, learns nothing."""
    net = Net(3)
    net.join((1, 2), (2, 3))
    answers: list[ReceivedOnion] = []
    first = net.nodes[1].request(net.id(2), [(64, b"a")], answers.append)
    other = net.nodes[1].request(net.id(2), [(64, b"b")], lambda one: answers.append(one))
    net.run()
    net.nodes[2].send(net.id(1), [(66, b"forged")])
    net.run()
    assert not answers
    assert [one.content for one in net.inbox[1]] == [(66, b"forged")]
    # Two that wait never get each other's.
    asked = {(one.content or (0, b""))[1]: one for one in net.inbox[2]}
    net.nodes[2].reply(asked[b"b"], [(66, b"for b")])
    net.run()
    assert [(one.path_id, one.content) for one in answers] == [(other.path_id, (66, b"for b"))]
    net.nodes[1].forget(first)
    net.nodes[1].forget(first)
    net.nodes[2].reply(asked[b"a"], [(66, b"for a")])
    net.run()
    assert len(answers) == 1
    assert net.inbox[1][-1].path_id == first.path_id


def test_o19_o27_o35_over_the_graph_and_through_a_channel() -> None:
    net = Net(4)
    net.join((1, 2), (2, 3), (3, 4))
    channel = ShortChannelId.of(1, 2, 3)
    net.graph.channels[channel] = (net.id(4), net.id(3))
    with pytest.raises(NoRoute, match="the graph has no route"):
        net.nodes[1].send(net.id(4), [(77, b"x")])
    net.graph.routes[net.id(4)] = [net.id(2), net.id(3), net.id(4)]
    net.nodes[1].send(net.id(4), [(77, b"by route")])
    # A path whose second node is told of the channel alone, and one that begins at its end.
    data = EncryptedDataTlv(short_channel_id=channel).encode()
    told = blind(random(5), [(net.id(3), data), (net.id(4), b"")])
    net.graph.routes[net.id(3)] = [net.id(2), net.id(3)]
    net.nodes[1].send(told, [(77, b"by channel")])
    begins = b"\1" + channel.to_bytes(8, "big")
    net.nodes[1].send(told.replace(first_node_id=begins), [(77, b"from its end")])
    net.run()
    assert [(one.content or (0, b""))[1] for one in net.inbox[4]] == [b"by route", b"by channel", b"from its end"]


def test_o18_a_path_that_begins_at_ourselves() -> None:
    net = Net(3)
    net.join((1, 2), (2, 3))
    path = blind_route(random(5), [net.id(1), net.id(2), net.id(3)], EncryptedDataTlv(path_id=b"own"))
    net.nodes[1].send(path, [(77, b"x")])
    net.run()
    assert [one.path_id for one in net.inbox[3]] == [b"own"]
    assert net.hops() == [(1, 2), (2, 3)]
    with pytest.raises(NoRoute, match="ends at ourselves"):
        net.nodes[1].send(blind_route(random(5), [net.id(1)]), [(77, b"x")])
    broken = path.replace(first_path_key=key(9).public_key)
    with pytest.raises(NoRoute, match="does not go on"):
        net.nodes[1].send(broken, [(77, b"x")])
    round_and_round = blind_route(random(5), [net.id(1)] * 12 + [net.id(2)])
    with pytest.raises(NoRoute, match="on to ourselves"):
        net.nodes[1].send(round_and_round, [(77, b"x")])


def test_o19_of_several_paths_the_first_that_can_be_reached() -> None:
    net = Net(3)
    net.join((1, 2))
    near, far = blind_route(random(5), [net.id(2)]), blind_route(random(6), [net.id(3)])
    net.nodes[1].send([far, near], [(77, b"x")])
    net.run()
    assert len(net.inbox[2]) == 1
    unknown = far.replace(first_node_id=b"\0" + bytes(8))
    with pytest.raises(NoRoute) as caught:
        net.nodes[1].send([far, unknown], [(77, b"x")])
    assert net.id(3).hex() in str(caught.value)
    assert "begins at channel 0x0x0, which is not known" in str(caught.value)
    for to, words in (([], "no path is given"), (net.id(3), "no peer that takes onion messages")):
        with pytest.raises(NoRoute, match=words):
            net.nodes[1].send(to, [(77, b"x")])
    with pytest.raises(NoRoute, match="not connected"):
        net.nodes[1].send(net.id(2), [(77, b"x")], via=[net.id(3)])
    bare = OnionMessenger(b"\7" * 32, random(8))
    with pytest.raises(NoRoute, match="there is no graph"):
        bare.send(net.id(2), [(77, b"x")])


def test_o36_the_answer_comes_back_over_the_nodes_that_the_question_took() -> None:
    """Who answers is a peer of the last one of them, and knows no other way."""
    for whole in (True, False):
        net = Net(4)
        net.join((1, 2), (2, 3), (3, 4))
        net.graph.routes[net.id(3)] = [net.id(2), net.id(3)]
        net.graph.routes[net.id(4)] = [net.id(2), net.id(3), net.id(4)]
        answers: list[ReceivedOnion] = []
        to = net.id(4) if whole else blind_route(random(5), [net.id(3), net.id(4)])
        net.nodes[1].request(to, [(64, b"x")], answers.append)
        net.run()
        net.graph.routes.clear()
        net.nodes[4].reply(net.inbox[4][0], [(66, b"y")])
        net.run()
        assert [one.content for one in answers] == [(66, b"y")]
        assert net.hops() == [(1, 2), (2, 3), (3, 4), (4, 3), (3, 2), (2, 1)]


def test_b20_another_way_is_another_path_or_another_peer() -> None:
    net = Net(4)
    net.join((1, 2), (1, 3), (2, 4), (3, 4), (1, 4))
    near, far = blind_route(random(5), [net.id(2), net.id(4)]), blind_route(random(6), [net.id(3), net.id(4)])
    first = net.nodes[1].request([near, far], [(64, b"x")], print)
    second = net.nodes[1].request([near, far], [(64, b"x")], print, other_than=first)
    assert (first.peer, second.peer) == (net.id(2), net.id(3))
    # The same path, begun at another peer.
    with pytest.raises(NoRoute, match=f"{net.id(2).hex()} is asked already, and the graph has no route"):
        net.nodes[1].request(near, [(64, b"x")], print, other_than=first)
    net.graph.routes[net.id(2)] = [net.id(4), net.id(2)]
    assert net.nodes[1].request(near, [(64, b"x")], print, other_than=first).peer == net.id(4)
    # A node, directly and then over somebody; and where somebody is named, nothing else is another way.
    direct = net.nodes[1].request(net.id(4), [(64, b"x")], print)
    net.graph.routes[net.id(4)] = [net.id(3), net.id(4)]
    assert net.nodes[1].request(net.id(4), [(64, b"x")], print, other_than=direct).peer == net.id(3)
    named = net.nodes[1].request(net.id(4), [(64, b"x")], print, via=[net.id(2)])
    with pytest.raises(NoRoute, match=f"no way but over {net.id(2).hex()}"):
        net.nodes[1].request(net.id(4), [(64, b"x")], print, via=[net.id(2)], other_than=named)
    net.run()
    # All but the one that would have gone back to where it came from.
    assert [one.content for one in net.inbox[4]] == [(64, b"x")] * 5


def test_what_may_not_be_asked() -> None:
    net = Net(2, limits=OnionLimits(requests=2))
    net.join((1, 2))
    asked: list[OnionRequest] = []
    for _ in range(2):
        with pytest.raises(ValueError, match="holds 32768"):
            net.nodes[1].request(net.id(2), [(64, bytes(33_000))], print)
        asked.append(net.nodes[1].request(net.id(2), [(64, b"x")], print))
    with pytest.raises(NoRoute, match="2 answers are waited for"):
        net.nodes[1].request(net.id(2), [(64, b"x")], print)
    net.nodes[1].forget(asked[0])
    net.nodes[1].request(net.id(2), [(64, b"x")], print)
    net.run()
    received = net.inbox[2][0]
    assert repr(received).startswith("<ReceivedOnion OnionmsgTlv(")
    net.nodes[1].send(net.id(2), [(77, b"no way back")])
    net.run()
    with pytest.raises(NoRoute, match="no reply path"):
        net.nodes[2].reply(net.inbox[2][-1], [(66, b"x")])
    assert repr(net.nodes[1]) == f"<OnionMessenger {net.id(1).hex()[:16]}, 2 requests>"


def test_o20_our_own_layers_are_opened_up_to_a_number() -> None:
    net = Net(2)
    net.join((1, 2))
    for own, comes in ((3, True), (10, True), (11, False)):
        path = blind_route(random(own), [net.id(1)] * own + [net.id(1)])
        message = seal(random(own), path, [(77, b"dummies")])
        if comes:
            net.nodes[1].handle_onion_message(net.id(2), message)
            assert len(net.inbox[1]) == 1
            net.inbox[1].clear()
        else:
            assert net.drop(1, message) is Drop.OWN_LAYERS


def message_over(*ids: bytes, data: EncryptedDataTlv | None = None) -> OnionMessage:
    return seal(random(8), blind_route(random(9), ids, data), [(77, b"x")])


def test_t2_o27_o28_what_is_not_passed_on() -> None:
    net = Net(4)
    net.join((1, 2), (1, 3))
    net.join((1, 4), init=TAKES_NONE)
    assert net.drop(1, message_over(net.id(1), net.id(2)), sender=2) is Drop.BACK
    assert net.drop(1, message_over(net.id(1), net.id(4))) is Drop.NOT_OFFERED
    assert net.drop(1, message_over(net.id(1), key(9).public_key)) is Drop.NOT_CONNECTED
    net.nodes[1].peer_disconnected(net.id(3))
    assert net.drop(1, message_over(net.id(1), net.id(3))) is Drop.NOT_CONNECTED
    by_channel = seal(
        random(8),
        blind(
            random(9), [(net.id(1), EncryptedDataTlv(short_channel_id=ShortChannelId(7)).encode()), (net.id(3), b"")]
        ),
    )
    assert net.drop(1, by_channel) is Drop.UNKNOWN_CHANNEL
    net.graph.channels[7] = (net.id(2), net.id(3))  # of others
    assert net.drop(1, by_channel) is Drop.UNKNOWN_CHANNEL
    net.graph.channels[7] = (net.id(1), net.id(3))
    assert net.drop(1, by_channel) is Drop.NOT_CONNECTED
    without = Net(3, forward=False)
    without.join((1, 2), (1, 3))
    assert without.drop(1, message_over(net.id(1), net.id(3))) is Drop.FORWARDING_OFF


def test_nobody_listens_or_has_no_room() -> None:
    net = Net(2)
    net.join((1, 2))
    net.nodes[1].on_message = None
    assert net.drop(1, message_over(net.id(1))) is Drop.NOT_ASKED
    net.nodes[1].on_message = lambda received: False
    assert net.drop(1, message_over(net.id(1))) is Drop.UNREAD


def test_o31_rates_stand_before_everything_else() -> None:
    net = Net(3)
    net.join((1, 2), (1, 3))
    rubbish = OnionMessage(path_key=net.id(3), onion_message_packet=b"")
    for _ in range(20):
        assert net.drop(1, rubbish) is Drop.LENGTH
    assert net.drop(1, rubbish) is Drop.RATE
    assert net.drop(1, message_over(net.id(1))) is Drop.RATE
    assert net.drop(1, rubbish, sender=3) is Drop.LENGTH
    net.now = 0.1
    assert net.drop(1, rubbish) is Drop.LENGTH
    assert net.nodes[1].statistics().received == 24


def test_o25_what_others_pass_on_and_drop() -> None:
    """The vectors of others, each at the node that it is for, all of whose peers take onion messages."""
    vectors = load("bolt04/generated.json.xz")
    for vector in vectors["dropped"]:
        try:
            message = OnionMessage.decode(bytes.fromhex(vector["message"]))
        except DecodeError:
            continue  # it is no onion_message
        node = OnionMessenger(bytes.fromhex(vector["privkey"]), random(1))
        assert isinstance(node.handle_onion_message(key(2).public_key, message), IgnoreError), vector["comment"]
        assert not list(node.get_and_clear_pending_msg_events())
    hops = MESSAGE["decrypt"]["hops"]
    for hop, after in pairwise(hops):
        node = OnionMessenger(bytes.fromhex(hop["privkey"]), random(1))
        next_node = bytes.fromhex(hop["next_node_id"])
        node.peer_connected(next_node, TAKES, inbound=False)
        assert (
            node.handle_onion_message(key(2).public_key, OnionMessage.decode(bytes.fromhex(hop["onion_message"])))
            is None
        )
        (event,) = node.get_and_clear_pending_msg_events()
        assert isinstance(event, SendMessages)
        assert (event.node_id, event.messages[0].encode().hex()) == (next_node, after["onion_message"])


def test_the_same_calls_give_the_same_bytes() -> None:
    def said() -> list[bytes]:
        net = Net(3)
        net.join((1, 2), (2, 3))
        net.nodes[1].request(net.id(3), [(64, b"x")], print, via=[net.id(2)])
        net.run()
        return [message.encode() for _, _, message in net.sent]

    assert said() == said()
    assert len({*said()}) == 2
    for bad in (bytes(32), b"\1" * 32, b"short"):
        with pytest.raises(ValueError, match="fresh randomness"):
            OnionMessenger(b"\1" * 32, bad)


def managed(number: int, limits: OnionLimits | None = None) -> tuple[MemoryNode, OnionMessenger, list[ReceivedOnion]]:
    """A messenger in a manager of its own."""
    secret = bytes([number]) * 32
    onions = OnionMessenger(secret, random(number + 100), limits=limits)
    inbox: list[ReceivedOnion] = []
    onions.on_message = into(inbox)
    handler = MessageHandler(
        ChannelMessageHandler(), RoutingMessageHandler(), onion_handler=onions, custom_handler=IgnoringMessageHandler()
    )
    return MemoryNode(PeerManager(handler, secret, random(number), NullLogger())), onions, inbox


def test_through_managers_over_wires() -> None:
    (one, asking, _), (two, _, _), (three, answering, inbox) = (managed(number) for number in (1, 2, 3))
    wires = [Wire(one, two).connect(), Wire(two, three).connect()]

    def run() -> None:
        for _ in range(4):
            for wire in wires:
                wire.run()

    answers: list[ReceivedOnion] = []
    run()
    asking.request(key(3).public_key, [(64, b"please")], answers.append, via=[key(2).public_key])
    run()
    (received,) = inbox
    answering.reply(received, [(66, b"here")])
    run()
    assert [answer.content for answer in answers] == [(66, b"here")]


def test_t1_o25_each_byte_that_is_changed_is_dropped_and_the_peer_stays() -> None:
    limits = OnionLimits(per_second=1e9, burst=1e9, byte_burst=1e9, all_per_second=1e9, all_burst=1e9)
    (one, _, _), (two, opened, inbox) = managed(1), managed(2, limits)
    wire = Wire(one, two).connect()
    wire.run()
    whole = seal(random(1), blind_route(random(2), [key(2).public_key]), [(77, b"x")], size=200).encode()
    for at in range(2, len(whole)):
        changed = whole[2:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]
        one.manager.send_message(key(2).public_key, UnknownMessage(513, changed))
        wire.run()
    assert not inbox
    statistics = opened.statistics()
    assert statistics.received == sum(statistics.dropped.values()) > 250
    assert {*statistics.dropped} == {Drop.VERSION, Drop.POINT, Drop.HMAC}
    one.manager.send_message(key(2).public_key, UnknownMessage(513, whole[2:]))
    wire.run()
    assert [received.content for received in inbox] == [(77, b"x")]
    assert one.manager.get_peer_node_ids() == [key(2).public_key]


def test_a_secret_is_shown_nowhere() -> None:
    messenger = OnionMessenger(b"\1" * 32, random(1))
    assert messenger.node_id == SecretKey(b"\1" * 32).public_key
    assert "01" * 32 not in repr(messenger)
