"""Lives of a manager that is driven by hand: what it does follows from these lines alone, and from no shell.

Each function is one life and makes the tape of its own name (a few make two).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from tests.golden.by_hand import AnyMessage, Far, Hand, everything, nothing
from tests.support import Note, Order, identity, make_manager
from triolight import (
    Allowance,
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    DisconnectReason,
    Features,
    HandleError,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    IgnoringMessageHandler,
    Level,
    OnionMessageHandler,
    PeerHandleError,
    PeerManager,
    PeerObserver,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    Side,
    SocketDescriptor,
    Tape,
    UpdateHtlcs,
)
from triolight.manager.seams import WAIT, MayConnect
from triolight.messages import (
    ChannelReady,
    ChannelUpdate,
    CommitmentSigned,
    Error,
    GossipTimestampFilter,
    Init,
    InitTlvs,
    OnionMessage,
    OpenChannel,
    Ping,
    Pong,
    QueryChannelRange,
    QueryShortChannelIds,
    Shutdown,
    StartBatch,
    StartBatchTlvs,
    Stfu,
    UnknownMessage,
    UpdateAddHtlc,
    UpdateFee,
    Warning,
)
from triolight.wire import ShortChannelId

Tapes = Callable[[str], Tape]
"""A tape by its name."""

OURS: Final = b"\x0a" * 32
OTHER: Final = b"\x0b" * 32
CHAIN: Final = b"\x06" * 32
ANOTHER_CHAIN: Final = b"\x07" * 32
SMALLER: Final = (15, 13, 2, 3, 11, 9)
"""Nodes whose ids are smaller than node 1's."""
LARGER: Final = (19, 24, 4, 17, 5, 18)


def silent() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, "silent")


# ---------------------------------------------------------------------------------------------------------------------
# Handlers


def cue(number: int) -> Stfu:
    return Stfu(channel_id=OURS, initiator=number)


class Cued(ChannelMessageHandler):
    """Does at each cue what stands at its number."""

    def __init__(self, *does: Callable[[bytes], Any]) -> None:
        super().__init__()
        self.does = does

    def handle_stfu(self, node_id: bytes, message: Stfu) -> Any:
        return self.does[message.initiator](node_id)


class Choosy:
    """Gives these answers to peers that connect, one after the other, and then takes everybody."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> Any:
        return self.answers.pop(0) if self.answers else None

    def peer_disconnected(self, node_id: bytes) -> None:
        pass


class ChoosyChannels(Choosy, ChannelMessageHandler):
    pass


class ChoosyRouting(Choosy, RoutingMessageHandler):
    pass


class ChoosyOnions(Choosy, OnionMessageHandler):
    pass


class ChoosyCustom(Choosy, CustomMessageHandler):
    pass


class Offers(RoutingMessageHandler):
    """Offers gossip_queries and answers none."""

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


def told_of_ends() -> dict[str, Any]:
    """Handlers that hear who comes and who goes, in all four places."""
    return {
        "chan": ChoosyChannels(),
        "route": ChoosyRouting(),
        "onion": ChoosyOnions(),
        "custom": ChoosyCustom(),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Batches


def commitment(number: int, channel_id: bytes = OURS, htlcs: int = 0) -> CommitmentSigned:
    one = bytes([number]) * 64
    return CommitmentSigned(channel_id=channel_id, signature=one, htlc_signature=(one,) * htlcs)


def start(size: int, message_type: int | None = 132) -> StartBatch:
    return StartBatch(channel_id=OURS, batch_size=size, tlvs=StartBatchTlvs(message_type=message_type))


class Batches(ChannelMessageHandler):
    """Takes batches, protects node 2, and has a word for a batch of three."""

    def protects(self, node_id: bytes) -> bool:
        return node_id == identity(2)

    def handle_commitment_signed(self, node_id: bytes, message: CommitmentSigned) -> None:
        return None

    def handle_commitment_signed_batch(
        self, node_id: bytes, channel_id: bytes, messages: tuple[CommitmentSigned, ...]
    ) -> SendWarningMessage | None:
        if len(messages) == 3:
            return SendWarningMessage(Warning(channel_id=channel_id, data=b"three"), Level.INFO)
        return None


def batch(tape: Tapes) -> None:
    with Hand(make_manager(1, chan=Batches()), tape("batch")) as hand:
        far = Far(hand, 2).connect()
        far.say(
            commitment(9),
            start(2),
            commitment(1),
            Ping(num_pong_bytes=3),
            UnknownMessage(40001, b"odd"),
            Warning(data=b"hm"),
            Error(channel_id=OTHER, data=b"another channel's"),
            commitment(2),
            commitment(8),
        )
        far.say(start(3), *(commitment(number, htlcs=1) for number in range(3)), piece=97)
        far.say(start(1), start(2, None), start(0), Shutdown(channel_id=OTHER, scriptpubkey=b""))
        Far(hand, 3).connect().say(start(2), commitment(1), commitment(2))
        far.say(start(2), commitment(1))  # the rest never comes


def batch_broken(tape: Tapes) -> None:
    intruders: tuple[AnyMessage, ...] = (
        start(2),
        commitment(2, OTHER),
        Shutdown(channel_id=OURS, scriptpubkey=b""),
        Note(payload=b""),
        UnknownMessage(258, b"too short"),
        UnknownMessage(40000, b"even"),
        GossipTimestampFilter(chain_hash=bytes(32), first_timestamp=0, timestamp_range=0),
    )
    with Hand(make_manager(1, chan=Batches()), tape("batch_broken")) as hand:
        for number, intruder in enumerate(intruders, 2):
            Far(hand, number).connect().say(start(3), commitment(1), intruder, commitment(3))
        Far(hand, 20).connect().say(start(21, 500))


def batch_for_nobody(tape: Tapes) -> None:
    """A handler that takes no batches: the first message is held, and given to the method that does nothing."""

    class Protects(ChannelMessageHandler):
        def protects(self, node_id: bytes) -> bool:
            return True

    with Hand(make_manager(1, chan=Protects()), tape("batch_for_nobody")) as hand:
        far = Far(hand, 2).connect()
        far.say(start(4), *(commitment(number) for number in range(2)))
        far.say(commitment(2))
        hand.manager.abandon_handlers()
        far.say(commitment(3))
        far.say(start(2), commitment(4), commitment(5), Ping(num_pong_bytes=1))


# ---------------------------------------------------------------------------------------------------------------------
# What handlers answer


def changes(node_id: bytes) -> UpdateHtlcs:
    add = UpdateAddHtlc(
        channel_id=OURS,
        id=1,
        amount_msat=5,
        payment_hash=bytes(32),
        cltv_expiry=9,
        onion_routing_packet=bytes(1366),
    )
    fee = UpdateFee(channel_id=OURS, feerate_per_kw=253)
    both = (commitment(1), commitment(2))
    return UpdateHtlcs(node_id=node_id, channel_id=OURS, adds=(add,), fee=fee, commitment_signed=both)


def answers(tape: Tapes) -> None:
    """Every action, returned and pushed."""

    def push(event: Any) -> None:
        chan.push(event)

    chan = Cued(
        lambda node_id: None,
        lambda node_id: IgnoreError("one that does not matter"),
        lambda node_id: IgnoreAndLog(Level.INFO, "nothing of interest"),
        lambda node_id: IgnoreDuplicateGossip(),
        lambda node_id: SendErrorMessage(Error(channel_id=OURS, data=b"not today")),
        lambda node_id: SendWarningMessage(Warning(data=b"hm"), Level.INFO),
        lambda node_id: push(SendMessages(node_id, UnknownMessage(54321, b"pushed"), Note(payload=b"as well"))),
        lambda node_id: push(changes(node_id)),
        lambda node_id: push(HandleError(node_id, SendWarningMessage(Warning(data=b"pushed")))),
        lambda node_id: push(HandleError(node_id, IgnoreError("pushed"))),
        lambda node_id: push(SendMessages(identity(9), Note(payload=b"for nobody"))),
        lambda node_id: True,
    )
    with Hand(make_manager(1, chan=chan), tape("answers")) as hand:
        far = Far(hand, 2).connect()
        cues = [cue(number) for number in range(len(chan.does))]
        far.say(*cues)
        for one in (*cues[:7], *cues[8:]):
            far.say(one)
        # From outside of any call, as an application of its own accord does.
        push(SendMessages(far.node_id, Note(payload=b"of its own accord")))
        hand.turn()


def ends_by_handlers(tape: Tapes) -> None:

    def push(event: Any) -> None:
        chan.push(event)

    chan = Cued(
        lambda node_id: DisconnectPeer(),
        lambda node_id: DisconnectPeer(reason="for a reason \xff"),
        lambda node_id: DisconnectPeer(Error(data=b"with an error")),
        lambda node_id: DisconnectPeerWithWarning(Warning(data=b"with a warning")),
        lambda node_id: push(HandleError(node_id, DisconnectPeer(reason="pushed"))),
        lambda node_id: push(SendMessages(node_id, Note(payload=b"fits"), Note(payload=bytes(70_000)))),
        lambda node_id: SendErrorMessage(Error(data=bytes(70_000))),
        lambda node_id: DisconnectPeer(Error(data=bytes(70_000))),
    )
    with Hand(make_manager(1, chan=chan, route=ChoosyRouting()), tape("ends_by_handlers")) as hand:
        for number in range(len(chan.does)):
            far = Far(hand, 2 + number).connect()
            # What follows is not read any more, whoever ends it.
            far.say(Ping(num_pong_bytes=1), cue(number), Ping(num_pong_bytes=2))


class Places(ChannelMessageHandler, RoutingMessageHandler):
    """One object in two places."""

    def message_received(self, node_id: bytes) -> None:
        pass

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        return None

    def peer_disconnected(self, node_id: bytes) -> None:
        pass

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("option_quiesce")

    def provided_node_features(self) -> Features:
        return Features.named("option_quiesce")

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> Any:
        return None

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> Any:
        return SendWarningMessage(Warning(data=b"no gossip here"))

    def handle_error(self, node_id: bytes, message: Error) -> None:
        pass


class Onions(OnionMessageHandler):
    def handle_onion_message(self, node_id: bytes, message: OnionMessage) -> Any:
        return IgnoreError("an onion")


class Customs(CustomMessageHandler):
    def handle_custom_message(self, node_id: bytes, message: Any) -> Any:
        return None if isinstance(message, Note) else SendWarningMessage(Warning(data=b"an order"))


UPDATE: Final = ChannelUpdate(
    signature=bytes(64),
    chain_hash=CHAIN,
    short_channel_id=ShortChannelId(0),
    timestamp=1,
    message_flags=1,
    channel_flags=0,
    cltv_expiry_delta=6,
    htlc_minimum_msat=1,
    fee_base_msat=1,
    fee_proportional_millionths=1,
    htlc_maximum_msat=1000,
)
ONION: Final = OnionMessage(path_key=identity(3), onion_message_packet=bytes(10))
FILTER: Final = GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=1)


class Updates(RoutingMessageHandler):
    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> Any:
        return SendWarningMessage(Warning(data=b"an update"))


class ToldOfUpdates(ChannelMessageHandler):
    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> Any:
        return SendWarningMessage(Warning(data=b"an update of a channel"))


def places(tape: Tapes) -> None:
    """Who is asked what: one object in two places, and handlers of their own."""
    both = Places()
    with Hand(
        make_manager(1, chan=both, route=both, onion=Onions(), custom=Customs(), unix_time=lambda: 1_700_000_000),
        tape("places"),
    ) as hand:
        far = Far(hand, 2).connect()
        far.say(UPDATE, FILTER, ONION, Note(payload=b"n"), Order(payload=b"o"), Warning(data=b"w"), Error(data=b"\1"))
        far = Far(hand, 3, dials=False).connect()
        far.say(Error(channel_id=OURS, data=b"of a channel"), Ping(), Pong(ignored=b"unasked"))
        hand.manager.broadcast_node_announcement(b"\1\2\3", b"alias", [("192.0.2.1", 9735)])
        hand.turn()


def places_apart(tape: Tapes) -> None:
    """A channel_update goes to two handlers; whoever overrides nothing is not asked."""
    manager = make_manager(
        1, chan=ToldOfUpdates(), route=Updates(), onion=IgnoringMessageHandler(), custom=IgnoringMessageHandler()
    )
    with Hand(manager, tape("places_apart")) as hand:
        far = Far(hand, 2).connect()
        far.say(UPDATE, FILTER, ONION, Note(payload=b"n"), Order(payload=b"o"), UPDATE)
        amounts = bytes(8 * 6 + 4 + 2 + 2)
        far.say(OpenChannel.decode(b"\0\x20" + CHAIN + OTHER + amounts + identity(3) * 6 + b"\0"))


# ---------------------------------------------------------------------------------------------------------------------
# What handlers should not answer


class NeitherTrueNorFalse:
    def __bool__(self) -> bool:
        raise TypeError("it depends")


def until_it_breaks(node_id: bytes) -> Iterator[SendMessages]:
    yield SendMessages(node_id, Note(payload=b"before the bug"))
    raise RuntimeError("an iterator with a bug")


class Odd(Cued):
    """Has its events in whatever form its cues make them."""

    due: Any = ()

    def get_and_clear_pending_msg_events(self) -> Any:
        due, self.due = self.due, ()
        return due


def odd_answers(tape: Tapes) -> None:
    """What is no answer, and handlers that raise: who drives by hand hears of it, and goes on."""

    def has(events: Callable[[bytes], Any]) -> Callable[[bytes], None]:
        def does(node_id: bytes) -> None:
            chan.due = events(node_id)

        return does

    def raises(node_id: bytes) -> None:
        raise RuntimeError("a handler with a bug")

    def note(node_id: Any, payload: Any = b"an event") -> SendMessages:
        return SendMessages(node_id, Note(payload=payload))

    wrong: Any = DisconnectPeer
    chan = Odd(
        lambda node_id: 0,
        lambda node_id: "yes",
        lambda node_id: [],
        lambda node_id: NeitherTrueNorFalse(),
        lambda node_id: Error(data=b"no action"),
        has(lambda node_id: iter([note(node_id), note(node_id, b"another")])),
        has(lambda node_id: (note(node_id, payload) for payload in (b"one", b"two"))),
        has(until_it_breaks),
        has(lambda node_id: None),
        has(lambda node_id: [note(node_id), 5]),
        has(lambda node_id: [note("somebody"), note(node_id)]),
        has(lambda node_id: [note(node_id, 5)]),
        raises,
        lambda node_id: wrong(reason=b"\xff bytes"),
    )
    with Hand(make_manager(1, chan=chan), tape("odd_answers")) as hand:
        for number in range(len(chan.does)):
            far = Far(hand, 2 + number).connect()
            with suppress(AttributeError, TypeError, RuntimeError):
                far.say(cue(number), Ping(num_pong_bytes=number))
            with suppress(AttributeError, TypeError, RuntimeError):
                hand.turn()


class Raising(Choosy, ChannelMessageHandler):
    """Raises when a peer connects that is to be refused by it, and when one of node 3's connections ends."""

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        if super().peer_connected(node_id, init, inbound) is False:
            raise RuntimeError("a bug as it connects")

    def peer_disconnected(self, node_id: bytes) -> None:
        if node_id == identity(3):
            raise RuntimeError("a bug as it goes")


def crash(tape: Tapes) -> None:
    """Handlers that raise outside of messages; then they are abandoned, and everybody hears goodbye."""
    manager = make_manager(1, chan=Raising(None, False), route=ChoosyRouting(), custom=ChoosyCustom())
    with Hand(manager, tape("crash")) as hand:
        first = Far(hand, 3).connect()
        with suppress(RuntimeError):
            Far(hand, 4).connect()
        hand.turn()
        with suppress(RuntimeError):
            first.hang_up()
        hand.turn()
        far = Far(hand, 5).connect()
        stranger, shaken = Far(hand, 6), Far(hand, 7).shake()
        manager.abandon_handlers()
        far.say(Ping(num_pong_bytes=2), cue(0), Note(payload=b"to nobody"), start(2), commitment(1), commitment(2))
        manager.disconnect_all_peers(
            DisconnectReason(DisconnectCode.HANDLER_CRASHED, Side.US, "an internal error, shutting down")
        )
        far.say(Ping(num_pong_bytes=3))
        hand.turn()
        for one in (stranger, shaken):
            one.hang_up()


def refusals(tape: Tapes) -> None:
    """Handlers refuse peers in every way; those who had accepted them hear of it."""
    ways: list[Any] = [
        False,
        DisconnectPeer(),
        DisconnectPeer(Error(data=b"with an error")),
        DisconnectPeerWithWarning(Warning(data=b"with a warning")),
        SendErrorMessage(Error(data=b"not you")),
        SendWarningMessage(Warning(data=b"not you"), Level.INFO),
        IgnoreError("quiet"),
        IgnoreAndLog(Level.INFO, "quiet"),
        IgnoreDuplicateGossip(),
        True,
    ]
    manager = make_manager(
        1,
        route=ChoosyRouting(*ways),
        chan=ChoosyChannels(None, False),
        onion=ChoosyOnions(),
        custom=ChoosyCustom(None, SendErrorMessage(Error(data=b"the last one says no")), True),
    )
    with Hand(manager, tape("refusals")) as hand:
        for number in range(len(ways) + 4):
            Far(hand, 2 + number, dials=number % 2 == 0).connect()


# ---------------------------------------------------------------------------------------------------------------------
# Calls from inside


class Inside(Cued):
    """Calls its manager as it answers."""

    def __init__(self, *does: Callable[[bytes], Any]) -> None:
        super().__init__(*does)
        self.at_connect: Callable[[bytes], Any] = lambda node_id: None
        self.at_disconnect: Callable[[bytes], Any] = lambda node_id: None

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        self.at_connect(node_id)

    def peer_disconnected(self, node_id: bytes) -> None:
        self.at_disconnect(node_id)


def from_inside(tape: Tapes) -> None:
    chan = Inside(
        lambda node_id: manager.send_message(node_id, Note(payload=b"from inside"), Ping(num_pong_bytes=7)),
        lambda node_id: manager.send_message(identity(3), Note(payload=b"told on")),
        lambda node_id: manager.process_events(),
        lambda node_id: manager.broadcast_encoded(Note(payload=b"to all").encode()),
        lambda node_id: manager.disconnect_by_node_id(identity(9), "nobody"),
        lambda node_id: manager.disconnect_by_node_id(identity(3), "from inside"),
        lambda node_id: manager.disconnect_by_node_id(node_id, "itself"),
        lambda node_id: manager.disconnect_all_peers("everybody"),
    )
    manager: PeerManager = make_manager(1, chan=chan, route=ChoosyRouting(), custom=ChoosyCustom())
    with Hand(manager, tape("from_inside")) as hand:
        second, third = Far(hand, 2).connect(), Far(hand, 3).connect()
        second.say(*(cue(number) for number in range(6)))
        hand.turn()
        third = Far(hand, 3).connect()
        chan.at_disconnect = lambda node_id: manager.send_message(identity(3), Note(payload=b"it has gone"))
        second.say(cue(6), Ping(num_pong_bytes=1))
        chan.at_disconnect = lambda node_id: None
        # As it is asked about: the one that is just being admitted is nobody's peer yet.
        chan.at_connect = lambda node_id: manager.disconnect_by_node_id(node_id, "not this one")
        Far(hand, 4).connect()
        chan.at_connect = lambda node_id: manager.send_message(identity(3), Note(payload=b"somebody is new"))
        Far(hand, 5, dials=False).connect()
        chan.at_connect = lambda node_id: None
        Far(hand, 6), Far(hand, 7).shake()
        third.say(cue(7), Ping(num_pong_bytes=1))
        hand.turn()


class Holding(PeerObserver):
    """As the shell: holds a peer's reading at each note."""

    def __init__(self) -> None:
        self.manager: PeerManager | None = None

    def message_received(self, descriptor: SocketDescriptor, message: Any, data: bytes) -> None:
        if self.manager is not None and isinstance(message, Note):
            self.manager.hold_reading(descriptor, True)

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> DisconnectReason | None:
        if node_id == identity(9):
            return DisconnectReason(DisconnectCode.TOO_MANY_PEERS, Side.US, "no room")
        return None


def held(tape: Tapes) -> None:
    """Held in the middle of a chunk, let go on, and ended while it is held. A refusal by the observer."""
    observer = Holding()
    manager = observer.manager = make_manager(1, chan=ChoosyChannels())
    with Hand(manager, tape("held"), observer=observer) as hand:
        far = Far(hand, 2).connect()
        note, ping = Note(payload=b"n"), Ping(num_pong_bytes=1)
        far.say(ping, note, ping, ping, note, ping)
        far.say(ping)
        for _ in range(3):
            manager.hold_reading(far.at, False)
            hand.turn()
        manager.hold_reading(far.at, False)  # it is not held
        far.say(note)  # nothing is behind it
        manager.send_message(far.node_id, Note(payload=b"to one that is held"))
        hand.turn()
        manager.hold_reading(far.at, False)
        hand.turn()
        Far(hand, 9).connect()
        manager.observe_messages(False)
        far.say(note, ping)
        manager.observe_messages(True)
        far.say(ping, note, ping)
        stalled = DisconnectReason(DisconnectCode.SUBSCRIBER_STALLED, Side.US, "our own subscriber has read nothing")
        manager.disconnect(far.at, stalled)
        hand.turn()
        manager.hold_reading(Far(hand, 3).at, True)  # before its Init: nothing


class Undecided(PeerObserver):
    """Knows only later whether somebody may connect."""

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> MayConnect:
        return WAIT


def decided(tape: Tapes) -> None:
    """Newcomers that wait to be let in: let in, refused, ended meanwhile. What they have said already is read then."""
    manager = make_manager(1, **told_of_ends())
    with Hand(manager, tape("decided"), observer=Undecided()) as hand:
        far = Far(hand, 2).connect()
        far.say(Note(payload=b"said while it waits"), Ping(num_pong_bytes=1))
        manager.decide(far.at, None)
        hand.turn()
        far.say(Ping(num_pong_bytes=2))
        manager.decide(far.at, DisconnectReason(DisconnectCode.REQUESTED, Side.US, "too late"))
        hand.turn()
        refused = Far(hand, 3).connect()
        manager.decide(refused.at, DisconnectReason(DisconnectCode.FENCED, Side.US, "this front was given up"))
        hand.turn()
        gone = Far(hand, 5).connect()
        gone.hang_up()
        manager.decide(gone.at, None)
        # In the same direction the newest wins, once it is let in.
        second = Far(hand, 2).connect()
        far.say(Ping(num_pong_bytes=3))
        manager.decide(second.at, None)
        hand.turn()
        manager.hold_peer(second.at, True)
        second.say(Ping(num_pong_bytes=4))
        manager.hold_reading(second.at, True)
        manager.hold_peer(second.at, False)
        hand.turn()
        manager.hold_reading(second.at, False)
        hand.turn()
        # A tick does not know that it waits for us.
        Far(hand, 7).connect()
        hand.tick()
        hand.tick()


# ---------------------------------------------------------------------------------------------------------------------
# Time


def ticks(tape: Tapes) -> None:
    manager = make_manager(1, **told_of_ends())
    with Hand(manager, tape("ticks")) as hand:
        lively = Far(hand, 2).connect()
        hand.tick()
        lively.say(Pong())
        hand.tick()
        still, talking, mute = Far(hand, 3).connect(), Far(hand, 4, dials=False).connect(), Far(hand, 5).connect()
        Far(hand, 6), Far(hand, 7).shake(), Far(hand, 8, dials=False)
        for _ in range(7):
            hand.tick()
            lively.say(Pong())
            talking.say(Note(payload=b"but no pong"))
        still.say(Ping())
        mute.say(Ping())
        # Its last words are not taken: that does not last for ever.
        stuck = Far(hand, 9).connect()
        stuck.at.takes = nothing
        manager.disconnect_by_node_id(stuck.node_id, "nobody hears this")
        hand.turn()
        hand.tick()
        hand.tick()


def throttle(tape: Tapes) -> None:
    """Everything that costs; overdrawn, let go on, and overdrawn again."""
    allowance = Allowance(per_second=1000, burst=3000)
    with Hand(make_manager(1, route=Offers()), tape("throttle"), allowance=allowance) as hand:
        far = Far(hand, 2).connect()
        pings = [Ping(num_pong_bytes=700)] * 5
        far.say(*pings, Ping(num_pong_bytes=1))
        hand.now += 1.6
        hand.manager.end_throttle(far.at)
        hand.turn()
        hand.now += 1.0
        hand.manager.end_throttle(far.at)
        hand.turn()
        hand.manager.end_throttle(far.at)  # it is not throttled
        for cost in (
            UnknownMessage(50001, b"odd"),
            QueryChannelRange(chain_hash=CHAIN, first_blocknum=1, number_of_blocks=2),
            Warning(data=b"words"),
            Error(channel_id=OURS, data=b"words"),
            b"\1\0 no gossip",
            commitment(0, htlcs=5),
            ChannelReady(channel_id=OURS, second_per_commitment_point=identity(3)).encode() + b"\x07\0" * 60,
        ):
            hand.now += 100.0
            hand.manager.end_throttle(far.at)
            hand.turn()
            far.say(cost, Ping(num_pong_bytes=1))
        far.say(Ping(num_pong_bytes=65_532))  # it wants no answer


def charges(tape: Tapes) -> None:
    """What a handler says that a message has cost: of who has sent it, of the turn alone, and of nobody who is here."""

    class Verifies(Offers):
        def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
            self.charge(node_id, 5)

        def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> None:
            self.charge(node_id, 20, ours=True)
            self.charge(identity(9), 5)

    allowance = Allowance(per_second=1000, burst=5000)
    with Hand(make_manager(1, route=Verifies()), tape("charges"), allowance=allowance, turn_work=30) as hand:
        far = Far(hand, 2).connect()
        update = ChannelUpdate(
            signature=bytes(64),
            chain_hash=CHAIN,
            short_channel_id=ShortChannelId.of(1, 2, 3),
            timestamp=1,
            message_flags=1,
            channel_flags=0,
            cltv_expiry_delta=1,
            htlc_minimum_msat=1,
            fee_base_msat=1,
            fee_proportional_millionths=1,
            htlc_maximum_msat=1,
        )
        far.say(GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=1))
        far.say(update, update, update, Ping(num_pong_bytes=1))
        hand.now += 100.0
        hand.manager.end_throttle(far.at)
        hand.turn()
        far.say(Ping(num_pong_bytes=1))


# ---------------------------------------------------------------------------------------------------------------------
# Room


def short_writes(tape: Tapes) -> None:
    """Sockets that take what chance says, of acts, of messages and of last words; reading in the meantime."""
    for name, turn_work in (("short_writes", None), ("short_writes_in_turns", 3)):
        rng = random.Random(7)
        manager = make_manager(1, route=Offers())

        def takes(size: int, rng: random.Random = rng) -> int:
            return rng.choice((0, size, rng.randrange(size + 1)))

        with Hand(manager, tape(name), turn_work=turn_work) as hand:

            def until_all_is_taken(far: Far) -> None:
                while far.at.short:
                    far.room()

            fars: list[Far] = []
            for number, dials in ((2, True), (3, False)):
                far = Far(hand, number, dials=dials, takes=takes)
                far.give(far.answer())
                until_all_is_taken(far)
                if dials:
                    far.give(far.answer(), 20)
                else:
                    far.answer()
                far.say(Init())
                fars.append(far)
            for at in range(9):
                far = rng.choice(fars)
                manager.send_message(far.node_id, *[Note(payload=bytes([at]) * rng.randrange(60))] * rng.randrange(3))
                far.say(*[Ping(num_pong_bytes=rng.randrange(90))] * rng.randrange(5), piece=rng.choice((30, 10**9)))
                if rng.random() < 0.5:
                    far.room()
            for far in fars:
                until_all_is_taken(far)
            for far in fars:
                manager.send_message(far.node_id, Note(payload=b"goes out first"))
                manager.disconnect(far.at, "a last word of some length, which is not taken at once")
                hand.turn()
            for far in fars:
                with suppress(PeerHandleError):
                    until_all_is_taken(far)


def over_budget(tape: Tapes) -> None:
    """It asks for much and reads nothing: its reading stops in the middle of a chunk, and goes on when it reads."""
    manager = make_manager(1)
    with Hand(manager, tape("over_budget")) as hand:
        far = Far(hand, 2).connect()
        # With a byte of this in its way, nothing of what follows is made.
        far.at.takes = nothing
        far.say(Ping(num_pong_bytes=1))
        far.say(*[Ping(num_pong_bytes=16_400)] * 6, Note(payload=b"behind them"), Ping(num_pong_bytes=2))
        far.say(Note(payload=b"not read"))
        # It reads a bit of the next pong, which was made for that: there is room for one more answer.
        room = iter((10**9, 500))
        far.room(lambda size: min(size, next(room, 0)))
        manager.send_message(far.node_id, Note(payload=b"dropped in the end"))
        hand.turn()
        manager.disconnect_by_node_id(far.node_id, "you never read")
        hand.turn()


def caused(tape: Tapes) -> None:
    """What counts as the peer's doing: pongs, warnings and what handlers send, but no changes of a channel."""
    chan = ChannelMessageHandler()
    with Hand(make_manager(1, chan=chan), tape("caused")) as hand:
        far = Far(hand, 2).connect()
        far.at.takes = nothing
        far.say(Ping(num_pong_bytes=1))
        # Four pongs are 336 bytes short of too much; a warning is less than that, and so is a note, but both are more.
        far.say(*[Ping(num_pong_bytes=16_200)] * 4)
        chan.push(changes(far.node_id))
        hand.turn()
        far.say(b"\1\0 no gossip", Note(payload=b"read"))
        chan.push(SendMessages(far.node_id, Note(payload=bytes(60))))
        hand.turn()
        far.say(Note(payload=b"not read"))


def turns(tape: Tapes) -> None:
    """More in one chunk than one turn does."""
    chan = ChoosyChannels()
    with Hand(make_manager(1, chan=chan), tape("turns"), turn_work=4) as hand:
        far = Far(hand, 2).connect()
        far.say(*[Ping(num_pong_bytes=number) for number in range(11)])
        far.say(Note(payload=bytes(4_200)), Ping(num_pong_bytes=1), commitment(1, htlcs=33), Ping(num_pong_bytes=2))
        other = Far(hand, 3).connect()
        many = far.packets(*[Ping(num_pong_bytes=3)] * 6)
        # Both have more than a turn's; one dies in the middle of it, one is ended.
        hand.manager.read_event(other.at, other.packets(*[Ping(num_pong_bytes=4)] * 6))
        hand.manager.read_event(far.at, many[:-3])
        hand.turn()
        hand.manager.read_event(far.at, many[-3:])
        hand.turn()
        hand.manager.read_event(other.at, other.packets(*[Ping(num_pong_bytes=5)] * 6))
        other.hang_up()
        hand.manager.read_event(far.at, far.packets(*[Ping(num_pong_bytes=6)] * 5, Error(data=b"enough")))
        hand.manager.hold_reading(far.at, True)
        hand.turn()
        hand.manager.hold_reading(far.at, False)
        hand.turn()
        with suppress(PeerHandleError):
            hand.manager.continue_reading(other.at)  # it is forgotten


# ---------------------------------------------------------------------------------------------------------------------
# Faults


def faults_in_the_acts(tape: Tapes) -> None:
    with Hand(make_manager(1), tape("faults_in_the_acts")) as hand:
        for bad in (b"\1", bytes(50), b"\0" + identity(3) + bytes(16)):
            Far(hand, 2).give(bad, 40)
        far = Far(hand, 2)
        act = far.answer()
        far.give(act[:-1] + bytes([act[-1] ^ 1]))
        for at in (0, 10, -1):  # act three: its version, its key, its tag
            far = Far(hand, 2)
            far.give(far.answer())
            wrong = bytearray(far.answer())
            wrong[at] ^= 1
            far.give(bytes(wrong), 60)
        far = Far(hand, 3, dials=False)
        act = far.answer()
        far.give(act[:-1] + bytes([act[-1] ^ 1]))
        Far(hand, 1).shake()  # our own node id
        Far(hand, 2).hang_up()
        far = Far(hand, 2)
        far.give(far.answer()[:30])
        far.hang_up()
        far = Far(hand, 2)
        far.give(far.answer())
        far.hang_up(DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, "Connection reset by peer"))
        Far(hand, 3, dials=False).hang_up()
        far = Far(hand, 2)
        far.give(far.answer())
        hand.manager.disconnect(far.at, DisconnectReason(DisconnectCode.HANDSHAKE_TIMEOUT, Side.US, "too slow"))
        hand.turn()


def faults_before_init(tape: Tapes) -> None:
    with Hand(make_manager(1, networks=[CHAIN], **told_of_ends()), tape("faults_before_init")) as hand:
        Far(hand, 2).shake().hang_up()
        Far(hand, 2, dials=False).shake().hang_up(
            DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, "Connection reset by peer")
        )
        first: tuple[bytes | Ping | Note | UnknownMessage | Init, ...] = (
            Ping(num_pong_bytes=1),
            Warning(data=b"full").encode(),
            UnknownMessage(50001, b"odd"),
            b"",
            b"\0",
            b"\0\x10\0",  # an Init that is cut off
            b"\0\x10\0\0\0\0\1\2\3",  # a record that is cut off
            Init(features=Features([1000]).to_bytes()),
            Init(features=Features.named("gossip_queries_ex", required=["option_quiesce"]).to_bytes()),
            Init(features=Features.named("option_zeroconf").to_bytes()),
            Init(tlvs=InitTlvs(networks=(ANOTHER_CHAIN,))),
            Init(tlvs=InitTlvs(networks=(ANOTHER_CHAIN, CHAIN))),
        )
        for number, one in enumerate(first):
            Far(hand, 2 + number, dials=number % 3 != 0).shake().say(one, Ping(num_pong_bytes=2))
        far = Far(hand, 20).shake()
        packet = bytearray(far.packets(Init()))
        packet[3] ^= 1
        far.give(bytes(packet))
        far = Far(hand, 20).shake()
        hand.manager.disconnect(far.at, DisconnectReason(DisconnectCode.INIT_TIMEOUT, Side.US, "no Init"))
        hand.turn()


def inits(tape: Tapes) -> None:
    """What is offered and what is asked for: LDK's rule for features, a required one of ours, what an Init tells."""

    class Requires(Offers):
        def provided_init_features(self, node_id: bytes) -> Features:
            return Features.named("gossip_queries", required=["option_quiesce"])

    manager = make_manager(1, route=Requires(), networks=[CHAIN, ANOTHER_CHAIN], refuse_features="not_offered")
    quiet = Features.named("option_quiesce")
    with Hand(manager, tape("inits")) as hand:
        for number, (features, address) in enumerate(
            (
                (quiet, ("8.8.4.4", 4242)),
                (quiet, ("192.168.1.9", 1)),
                (quiet, ("::ffff:8.8.4.4", 4242)),
                (quiet, ("2001:4860:4860::8888", 4242)),
                (quiet, None),
                (Features(), ("8.8.4.4", 4242)),
                (quiet | Features.named(required=["gossip_queries"]), None),
                (quiet | Features.named(required=["option_splice"]), None),
                (quiet | Features([2001]), None),
            )
        ):
            init = Init(globalfeatures=features.globalfeatures.to_bytes(), features=features.to_bytes())
            Far(hand, 2 + number, dials=number != 4, address=address).connect(init)


def faults_after_init(tape: Tapes) -> None:
    with Hand(make_manager(1, chan=ChoosyChannels()), tape("faults_after_init")) as hand:
        far = Far(hand, 2).connect()
        far.say(b"\1\0 no channel_announcement", b"\1\7", b"\1\5" + CHAIN, Ping(num_pong_bytes=1))
        zlib = QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=b"\1x")
        far.say(zlib, zlib.replace(encoded_short_ids=b""), UnknownMessage(50001, b"odd"))
        far.say(Warning(data=b"I warn you, \xff"))
        far.hang_up()
        for number, last in enumerate(
            (
                b"\0\x12\0",  # a ping that is cut off
                Init().encode(),
                UnknownMessage(40000, b"even").encode(),
                UnknownMessage(37000, b"eclair's").encode(),
                b"\0",
                b"",
                Error(data=b"all of them").encode(),
                Error().encode(),
                Error(channel_id=OURS, data=b"only this one").encode(),
            )
        ):
            far = Far(hand, 3 + number, dials=number % 2 == 0).connect()
            far.say(Ping(num_pong_bytes=1), last, Ping(num_pong_bytes=2))
        far.hang_up()
        far = Far(hand, 20).connect()
        packet = bytearray(far.packets(Ping()))
        packet[-1] ^= 1
        far.give(bytes(packet))
        far.say(Ping(num_pong_bytes=2))


def queries(tape: Tapes) -> None:
    """Answered by the manager for a handler that offers gossip_queries and does not answer."""

    class OffersToSome(Offers):
        def provided_init_features(self, node_id: bytes) -> Features:
            return Features() if node_id == identity(3) else super().provided_init_features(node_id)

        def handle_reply_channel_range(self, node_id: bytes, message: Any) -> Any:
            return IgnoreError("nobody asked")

    with Hand(make_manager(1, route=OffersToSome()), tape("queries")) as hand:
        for number in (2, 3):
            far = Far(hand, number).connect()
            far.say(
                QueryChannelRange(chain_hash=CHAIN, first_blocknum=100, number_of_blocks=2000),
                QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=bytes(9)),
                GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=1),
            )


# ---------------------------------------------------------------------------------------------------------------------
# One connection a node


def parked(tape: Tapes) -> None:
    """Connections that were dialled at the same time, with nodes whose ids are smaller: theirs is kept."""
    manager = make_manager(1, **told_of_ends())
    with Hand(manager, tape("parked")) as hand:

        def crossed(number: int) -> tuple[Far, Far]:
            """What is kept, and what is parked."""
            return Far(hand, number).connect(), Far(hand, number, dials=False).connect()

        # The one that is parked ends: by its driver's clock, by a tick, by itself.
        _, lost = crossed(15)
        lost.say(Note(payload=b"not read"))
        hand.now += 2
        duplicate = DisconnectReason(DisconnectCode.DUPLICATE, Side.US, "another connection with you was kept")
        manager.disconnect(lost.at, duplicate)
        hand.turn()
        _, lost = crossed(13)
        lost.hang_up()
        crossed(2)
        hand.tick()
        # It takes the place of the one that was kept, and what it has said meanwhile is read.
        won, lost = crossed(3)
        lost.say(Note(payload=b"said while parked"), Ping(num_pong_bytes=3))
        won.hang_up()
        lost.say(Ping(num_pong_bytes=4))
        won, lost = crossed(11)
        manager.disconnect(won.at, silent())
        hand.turn()
        # While events are processed.
        won, lost = crossed(9)
        manager.hold_reading(won.at, True)
        won.say(Error(data=b"enough"))
        manager.hold_reading(won.at, False)
        hand.turn()
        # We want nothing of it: both go.
        crossed(23)
        manager.disconnect_by_node_id(identity(23), "we want nothing of it")
        hand.turn()
        won, lost = crossed(29)
        manager.disconnect(won.at, DisconnectReason(DisconnectCode.HANDLER_DISCONNECT, Side.US, "no"))
        hand.turn()
        # Only one is parked; a third one that is kept replaces both.
        won, lost = crossed(7)
        Far(hand, 7, dials=False).connect()
        Far(hand, 7).connect()
        won.hang_up()
        lost.hang_up()


def demoted(tape: Tapes) -> None:
    """The same with nodes whose ids are larger: ours is kept, though theirs was connected first."""
    manager = make_manager(1, **told_of_ends())
    with Hand(manager, tape("demoted")) as hand:

        def crossed(number: int) -> tuple[Far, Far]:
            """What was connected first, and what took its place."""
            first = Far(hand, number).connect()
            manager.send_ping(first.at, 5, b"", "somebody's")
            manager.hold_reading(first.at, True)
            hand.turn()
            return first, Far(hand, number, dials=False).connect()

        first, second = crossed(19)
        first.say(Note(payload=b"not read"), Pong(ignored=bytes(5)))
        second.hang_up()
        first.say(Ping(num_pong_bytes=1))
        crossed(24)
        hand.tick()
        first, second = crossed(4)
        first.hang_up()
        first, second = crossed(17)
        hand.now += 2
        manager.disconnect(first.at, "too late")
        hand.turn()
        second.say(Ping(num_pong_bytes=1))


def replaced(tape: Tapes) -> None:
    """A second connection in the same direction, or much later: the newest stays, unless a handler refuses it."""
    routing = ChoosyRouting()
    manager = make_manager(1, chan=ChoosyChannels(), route=routing)
    with Hand(manager, tape("replaced")) as hand:
        first = Far(hand, 2).connect()
        first.say(*[Ping(num_pong_bytes=1)] * 2)
        second = Far(hand, 2).connect()
        first.say(Ping(num_pong_bytes=1))
        second.say(Ping(num_pong_bytes=1))
        hand.now += 60
        third = Far(hand, 2, dials=False).connect()
        hand.now += 60
        routing.answers = [False]
        Far(hand, 2).connect()
        third.say(Ping(num_pong_bytes=1))
        # Opposite, and at the same time.
        fourth = Far(hand, 19).connect()
        routing.answers = [SendWarningMessage(Warning(data=b"not that one"))]
        Far(hand, 19, dials=False).connect()
        fourth.say(Ping(num_pong_bytes=1))
        # Refused, and the old one is refused too as it comes back.
        routing.answers = [False, False]
        Far(hand, 19).connect()
        hand.turn()


def oldest(tape: Tapes) -> None:
    """LDK's rule: who comes second is let go before it hears an Init, or after, if both came at once."""
    manager = make_manager(1, chan=ChoosyChannels())
    with Hand(manager, tape("oldest"), duplicates="oldest") as hand:
        first = Far(hand, 2).connect()
        Far(hand, 2).shake()
        Far(hand, 2, dials=False).shake()
        first.say(Ping(num_pong_bytes=1))
        both = Far(hand, 3).shake(), Far(hand, 3).shake()
        for one in both:
            one.say(Init())
        for one in both:
            one.say(Ping(num_pong_bytes=1))
        first.hang_up()
        Far(hand, 2).connect()


# ---------------------------------------------------------------------------------------------------------------------
# What an application wants


def application(tape: Tapes) -> None:
    """Sends, pings, announcements, ends in every phase; and descriptors that are none any more."""
    manager = make_manager(1, unix_time=lambda: 1_700_000_000, **told_of_ends())
    with Hand(manager, tape("application")) as hand:
        far, other = Far(hand, 2).connect(), Far(hand, 3, dials=False).connect()
        stranger = Far(hand, 4)
        manager.send_message(far.node_id, Note(payload=b"one"), UnknownMessage(50001, b"two"), Order(payload=b""))
        manager.send_message(far.node_id)
        with suppress(PeerHandleError):
            manager.send_message(stranger.node_id, Note(payload=b"to nobody"))
        manager.send_encoded(other.at, [Note(payload=b"three").encode(), Ping(num_pong_bytes=1).encode()])
        manager.send_encoded(other.at, (Note(payload=bytes([at])).encode() for at in range(2)))
        manager.send_encoded(stranger.at, [Note(payload=b"to nobody").encode()])
        hand.turn()
        # Pongs in their order, of a length that nobody asked for, and one that nobody waits for any more.
        for length in (3, 0, 3):
            hand.now += 0.25
            manager.send_ping(far.at, length, b"x", f"token {length}")
        manager.send_ping(far.at)
        manager.forget_ping(far.at, None)
        manager.forget_ping(far.at, "not known")
        hand.turn()
        far.say(Pong(ignored=bytes(3)), Pong(ignored=bytes(9)), Pong(), Pong(ignored=bytes(3)), Pong())
        for _ in range(33):
            manager.send_ping(other.at, 1)
        hand.turn()
        manager.send_ping(stranger.at)
        manager.broadcast_node_announcement(bytes(3), b"x")
        manager.broadcast_encoded(Note(payload=b"to all").encode())
        hand.turn()
        # Ends: by node id, with words of any kind, of whom there is no Init, of all.
        manager.disconnect_by_node_id(identity(9), "nobody")
        manager.disconnect_by_node_id(far.node_id)
        manager.disconnect(far.at, "again")
        far.say(Ping())
        hand.turn()
        shaken = Far(hand, 5).shake()
        manager.disconnect_by_node_id(shaken.node_id, "before its Init")
        hand.turn()
        manager.send_message(other.node_id, Note(payload=b"goes out before the end"))
        manager.disconnect_by_node_id(other.node_id, b"\xff bytes")  # type: ignore[arg-type]
        hand.turn()
        Far(hand, 6, dials=False), Far(hand, 7).shake(), Far(hand, 8).connect()
        manager.disconnect_all_peers("all of you")
        hand.turn()
        for call in (
            lambda: manager.read_event(far.at, b"x"),
            lambda: manager.write_buffer_space_avail(far.at),
            lambda: manager.socket_disconnected(far.at),
            lambda: manager.disconnect(far.at),
            lambda: manager.continue_reading(far.at),
            lambda: manager.hold_reading(far.at, True),
            lambda: manager.end_throttle(far.at),
            lambda: manager.send_encoded(far.at, []),
            lambda: manager.send_ping(far.at),
            lambda: manager.forget_ping(far.at, None),
        ):
            with suppress(PeerHandleError):
                call()
        # Somebody is left, and has something in its queue, as the block ends.
        last = Far(hand, 9).connect()
        last.at.takes = nothing
        manager.send_message(last.node_id, Note(payload=b"never written"))
        hand.turn()
        last.at.takes = everything


LIVES: Final = (
    answers,
    application,
    batch,
    batch_broken,
    batch_for_nobody,
    caused,
    charges,
    crash,
    decided,
    demoted,
    ends_by_handlers,
    faults_after_init,
    faults_before_init,
    faults_in_the_acts,
    from_inside,
    held,
    inits,
    odd_answers,
    oldest,
    over_budget,
    parked,
    places,
    places_apart,
    queries,
    refusals,
    replaced,
    short_writes,
    throttle,
    ticks,
    turns,
)
