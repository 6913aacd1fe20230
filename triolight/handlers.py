"""What the application plugs into the PeerManager: handler classes, the events they make, the actions they return.

A handler method gets ``(node_id, message)``, is called from inside the manager, and must not block. It may

* return an action: what shall happen because of this message (`SendErrorMessage`, `DisconnectPeer`, …);
* `push` events: messages that go out when the manager next processes events, which it is asked to do at once.

The classes are placeholders as they stand; subclass them to act. An exception from a handler is a bug of the
application: it ends every connection and leaves `open_peer_nursery`. So does what a method may not return, as a
TypeError in its name. A method ``handle_…`` that no message leads to is a TypeError of `PeerManager(...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias, get_args

from triolight.batch import MAX_BATCH
from triolight.features import Features
from triolight.logger import Level
from triolight.messages import (
    AcceptChannel,
    AcceptChannel2,
    AnnouncementSignatures,
    ChannelAnnouncement,
    ChannelReady,
    ChannelReestablish,
    ChannelUpdate,
    ClosingComplete,
    ClosingSig,
    ClosingSigned,
    CommitmentSigned,
    Error,
    FundingCreated,
    FundingSigned,
    GossipTimestampFilter,
    Init,
    Message,
    NodeAnnouncement,
    OnionMessage,
    OpenChannel,
    OpenChannel2,
    PeerStorage,
    PeerStorageRetrieval,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    RevokeAndAck,
    Shutdown,
    SpliceAck,
    SpliceInit,
    SpliceLocked,
    StartBatch,
    StartBatchTlvs,
    Stfu,
    TxAbort,
    TxAckRbf,
    TxAddInput,
    TxAddOutput,
    TxComplete,
    TxInitRbf,
    TxRemoveInput,
    TxRemoveOutput,
    TxSignatures,
    UnknownMessage,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
    Warning,
)

__all__ = [
    "BaseMessageHandler",
    "ChannelMessageHandler",
    "CustomMessageHandler",
    "DisconnectPeer",
    "DisconnectPeerWithWarning",
    "ErroringMessageHandler",
    "HandleError",
    "HandlerResult",
    "IgnoreAndLog",
    "IgnoreDuplicateGossip",
    "IgnoreError",
    "IgnoringMessageHandler",
    "MessageHandler",
    "MessageSendEvent",
    "OnionMessageHandler",
    "RoutingMessageHandler",
    "SendErrorMessage",
    "SendMessages",
    "SendWarningMessage",
    "UpdateHtlcs",
]

# Actions: what a handler returns.


@dataclass(frozen=True, slots=True)
class DisconnectPeer:
    """End the connection. `message` is the last word; without one the peer hears a warning with `reason`."""

    message: Error | None = None
    reason: str = "disconnected by a handler"


@dataclass(frozen=True, slots=True)
class DisconnectPeerWithWarning:
    """End the connection; `message` is the last word."""

    message: Warning
    reason: str = "disconnected by a handler"


@dataclass(frozen=True, slots=True)
class IgnoreError:
    """Nothing happens but a line in the log at DEBUG."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class IgnoreAndLog:
    """Nothing happens but a line in the log at `level`."""

    level: Level
    reason: str = ""


@dataclass(frozen=True, slots=True)
class IgnoreDuplicateGossip:
    """The gossip was known already. Nothing happens."""


@dataclass(frozen=True, slots=True)
class SendErrorMessage:
    """The peer gets this error; the connection stays."""

    message: Error


@dataclass(frozen=True, slots=True)
class SendWarningMessage:
    """The peer gets this warning; the connection stays."""

    message: Warning
    level: Level = Level.WARN


ErrorAction: TypeAlias = (
    DisconnectPeer
    | DisconnectPeerWithWarning
    | IgnoreError
    | IgnoreAndLog
    | IgnoreDuplicateGossip
    | SendErrorMessage
    | SendWarningMessage
)
"""LDK's error actions."""
ACTIONS: Final[tuple[type[Any], ...]] = get_args(ErrorAction)
"""Their classes."""

HandlerResult: TypeAlias = ErrorAction | None
"""None: the message was taken. Anything else than an action or None is a bug of the handler, as an exception is."""


# Events: what a handler pushes. A node id that is none, and what is no message, are TypeErrors as they are made.


@dataclass(frozen=True, slots=True, init=False)
class SendMessages:
    """Messages for one peer, written in a row with nothing between them. Dropped if it is not connected."""

    caused: ClassVar[bool] = True
    """Whether they count as the peer's doing: with too many of them unread it is not read from."""

    node_id: bytes
    messages: tuple[Message | UnknownMessage, ...]

    def __init__(self, node_id: bytes, *messages: Message | UnknownMessage) -> None:
        _check_node_id(node_id)
        given: tuple[Any, ...] = messages
        for one in given:
            if not isinstance(one, _MESSAGES):  # text has an `encode` too
                raise TypeError(f"messages are sent, not {type(one).__name__}")
        object.__setattr__(self, "node_id", node_id)
        object.__setattr__(self, "messages", messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateHtlcs:
    """Changes of one channel and the commitment_signed for them, written in a row with nothing between them.

    In LDK's order: fulfills, fails, malformed fails, adds, the fee, then the commitment_signed, with the start_batch
    that belongs before them if there are several (one for each funding transaction while a splice is pending). The
    largest that is legal, 1.8 MB, is written whole. Dropped if the node is not connected.

    ValueError if a message belongs to another channel or elsewhere among these, or there are more commitment_signed
    than BOLT 2 allows (20).
    """

    caused: ClassVar[bool] = False
    """Changes of a channel are nobody's answer: two sides that send theirs at once must both go on reading."""

    node_id: bytes
    channel_id: bytes
    fulfills: tuple[UpdateFulfillHtlc, ...] = ()
    fails: tuple[UpdateFailHtlc, ...] = ()
    malformed_fails: tuple[UpdateFailMalformedHtlc, ...] = ()
    adds: tuple[UpdateAddHtlc, ...] = ()
    fee: UpdateFee | None = None
    commitment_signed: tuple[CommitmentSigned, ...] = ()

    def __post_init__(self) -> None:
        _check_node_id(self.node_id)
        if len(self.commitment_signed) > MAX_BATCH:
            raise ValueError(f"{len(self.commitment_signed)} commitment_signed; {MAX_BATCH} are the most")
        for kind, messages in (
            (UpdateFulfillHtlc, self.fulfills),
            (UpdateFailHtlc, self.fails),
            (UpdateFailMalformedHtlc, self.malformed_fails),
            (UpdateAddHtlc, self.adds),
            (CommitmentSigned, self.commitment_signed),
        ):
            for one in messages:
                if type(one) is not kind:
                    raise ValueError(f"{kind.name} is expected, not {type(one).__name__}")
        for message in self.messages:
            if message.channel_id != self.channel_id:
                raise ValueError(f"{message.name} of another channel: {message.channel_id.hex()}")

    @property
    def messages(self) -> tuple[_OfAChannel, ...]:
        """All of them in the order of the wire."""
        batch = len(self.commitment_signed)
        return (
            *self.fulfills,
            *self.fails,
            *self.malformed_fails,
            *self.adds,
            *((self.fee,) if self.fee is not None else ()),
            *((_start_batch(self.channel_id, batch),) if batch > 1 else ()),
            *self.commitment_signed,
        )


_OfAChannel: TypeAlias = (
    UpdateFulfillHtlc
    | UpdateFailHtlc
    | UpdateFailMalformedHtlc
    | UpdateAddHtlc
    | UpdateFee
    | StartBatch
    | CommitmentSigned
)


def _start_batch(channel_id: bytes, size: int) -> StartBatch:
    tlvs = StartBatchTlvs(message_type=CommitmentSigned.type)
    return StartBatch(channel_id=channel_id, batch_size=size, tlvs=tlvs)


@dataclass(frozen=True, slots=True)
class HandleError:
    """An action that no message caused, for one peer."""

    node_id: bytes
    action: ErrorAction

    def __post_init__(self) -> None:
        _check_node_id(self.node_id)
        if not isinstance(self.action, ACTIONS):
            raise TypeError(f"HandleError is given an action, not {type(self.action).__name__}")


@dataclass(frozen=True, slots=True)
class GossipWaits:
    """These nodes are to be asked for in `RoutingMessageHandler.next_gossip`. Those that are not connected are not."""

    node_ids: tuple[bytes, ...]

    def __post_init__(self) -> None:
        for one in self.node_ids:
            _check_node_id(one)


MessageSendEvent: TypeAlias = SendMessages | UpdateHtlcs | HandleError | GossipWaits
"""What a handler may push; the last one is `RoutingMessageHandler.wake`'s."""
EVENTS: Final[tuple[type[Any], ...]] = get_args(MessageSendEvent)
"""Their classes."""
_MESSAGES: Final = (Message, UnknownMessage)


def _check_node_id(node_id: object) -> None:
    if not isinstance(node_id, bytes):
        raise TypeError(f"a node id is 33 bytes, not {type(node_id).__name__}")


# Handlers.


Charge: TypeAlias = Callable[[bytes, int, bool], None]
"""Units of work of a peer; whether it was ours to ask for it."""


class BaseMessageHandler:
    """What every handler has. Its defaults accept every peer, offer nothing and say nothing."""

    _charge: Charge | None = None

    def __init__(self) -> None:
        self._events: list[MessageSendEvent] = []
        self._on_work: Callable[[], None] | None = None

    def _pending(self) -> list[MessageSendEvent]:
        # A subclass may have forgotten super().__init__(); its first event shall not be an AttributeError.
        if not hasattr(self, "_events"):
            BaseMessageHandler.__init__(self)
        return self._events

    def attach(self, on_work: Callable[[], None], charge: Charge | None = None) -> None:
        """The manager's: `on_work` is called when an event was pushed, `charge` is the manager's."""
        self._pending()
        self._on_work = on_work
        self._charge = charge

    def charge(self, node_id: bytes, units: int, *, ours: bool = False) -> None:
        """A message of this peer has cost more than a message does: so many units of work, each about what a small
        message costs. The pump's turn is over so much the sooner, and the peer is read the more slowly for it, unless
        it was `ours` to ask for it. Without a manager nothing happens."""
        if self._charge is not None:
            self._charge(node_id, units, ours)

    def push(self, event: MessageSendEvent) -> None:
        """Queues an event; the manager takes it at once if it is driven by `open_peer_nursery`.

        TypeError for what is no event.
        """
        if type(event) not in EVENTS and not isinstance(event, EVENTS):
            raise TypeError(f"{type(self).__name__}.push takes events, not {type(event).__name__}")
        self._pending().append(event)
        if self._on_work is not None:
            self._on_work()

    def get_and_clear_pending_msg_events(self) -> Iterable[MessageSendEvent]:
        """The events since the last call, in order, in any iterable. Called whenever the manager processes events."""
        try:
            pending = self._events
        except AttributeError:
            pending = self._pending()
        if not pending:
            return ()
        events = list(pending)
        pending.clear()
        return events

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> ErrorAction | bool | None:
        """A peer's Init fits ours. False or an action refuses the peer: it is disconnected, with the action's words.
        None or True: accepted.

        A peer is connected when every handler has accepted it; those that had accepted one that another refuses get
        `peer_disconnected`.
        """
        return None

    def peer_disconnected(self, node_id: bytes) -> None:
        """Exactly once for each connection that this handler accepted."""

    def provided_init_features(self, node_id: bytes) -> Features:
        """What to offer this peer in Init."""
        return Features()

    def provided_node_features(self) -> Features:
        """What to offer in our node_announcement."""
        return Features()


def overrides(handler: BaseMessageHandler, base: type[BaseMessageHandler], method: str) -> bool:
    """Whether a handler does anything of its own in this method, compared with this class. One that does not is not
    called for its messages at all."""
    if method in getattr(handler, "__dict__", {}):
        return True
    return getattr(type(handler), method, None) is not getattr(base, method, None)


_PLACEHOLDER_FEATURES: Final = Features.named(
    "option_data_loss_protect",
    "option_upfront_shutdown_script",
    "var_onion_optin",
    "option_static_remotekey",
    "payment_secret",
    "basic_mpp",
    "option_support_large_channel",
    "option_route_blinding",
    "option_shutdown_anysegwit",
    "option_dual_fund",
    "option_channel_type",
    "option_scid_alias",
    "option_zeroconf",
)
"""What LDK's ErroringMessageHandler offers. LND closes, silently, on a peer whose Init lacks data_loss_protect."""


class ChannelMessageHandler(BaseMessageHandler):
    """Channel messages. As it stands: refuses new channels, and ignores every other message.

    It answers open_channel and open_channel2 with an error for that temporary channel id, and nothing else: peers send
    channel_reestablish as they connect, and an error in answer makes them force-close a live channel of whoever owns
    our key.
    """

    def provided_init_features(self, node_id: bytes) -> Features:
        return _PLACEHOLDER_FEATURES

    def provided_node_features(self) -> Features:
        return _PLACEHOLDER_FEATURES

    def unhandled(self, node_id: bytes, message: Message) -> HandlerResult:
        """What the methods that are not overridden do with their message. As it stands: nothing."""
        return None

    def handle_error(self, node_id: bytes, message: Error) -> None:
        """The peer fails a channel, or with an all-zero channel_id all of them; after that one the connection ends."""

    def message_received(self, node_id: bytes) -> None:
        """A message of any kind came from this peer, Init included: it is alive."""

    def protects(self, node_id: bytes) -> bool:
        """Whether this node matters (it has a channel): the policy's limits on peers do not keep it out, and its
        batches may be as large as BOLT 2 lets them be."""
        return False

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> HandlerResult:
        """A channel_update goes to the routing handler too."""
        return None

    def handle_peer_storage(self, node_id: bytes, message: PeerStorage) -> HandlerResult:
        """Its peer_storage."""
        return self.unhandled(node_id, message)

    def handle_peer_storage_retrieval(self, node_id: bytes, message: PeerStorageRetrieval) -> HandlerResult:
        """Its peer_storage_retrieval."""
        return self.unhandled(node_id, message)

    def handle_open_channel(self, node_id: bytes, message: OpenChannel) -> HandlerResult:
        """It wants a channel. As it stands: refused."""
        return SendErrorMessage(Error(channel_id=message.temporary_channel_id, data=_NO_CHANNELS))

    def handle_accept_channel(self, node_id: bytes, message: AcceptChannel) -> HandlerResult:
        """Its accept_channel."""
        return self.unhandled(node_id, message)

    def handle_open_channel2(self, node_id: bytes, message: OpenChannel2) -> HandlerResult:
        """It wants a channel with both sides' funds. As it stands: refused."""
        return SendErrorMessage(Error(channel_id=message.temporary_channel_id, data=_NO_CHANNELS))

    def handle_accept_channel2(self, node_id: bytes, message: AcceptChannel2) -> HandlerResult:
        """Its accept_channel2."""
        return self.unhandled(node_id, message)

    def handle_funding_created(self, node_id: bytes, message: FundingCreated) -> HandlerResult:
        """Its funding_created."""
        return self.unhandled(node_id, message)

    def handle_funding_signed(self, node_id: bytes, message: FundingSigned) -> HandlerResult:
        """Its funding_signed."""
        return self.unhandled(node_id, message)

    def handle_channel_ready(self, node_id: bytes, message: ChannelReady) -> HandlerResult:
        """Its channel_ready."""
        return self.unhandled(node_id, message)

    def handle_shutdown(self, node_id: bytes, message: Shutdown) -> HandlerResult:
        """Its shutdown."""
        return self.unhandled(node_id, message)

    def handle_closing_signed(self, node_id: bytes, message: ClosingSigned) -> HandlerResult:
        """Its closing_signed."""
        return self.unhandled(node_id, message)

    def handle_closing_complete(self, node_id: bytes, message: ClosingComplete) -> HandlerResult:
        """Its closing_complete."""
        return self.unhandled(node_id, message)

    def handle_closing_sig(self, node_id: bytes, message: ClosingSig) -> HandlerResult:
        """Its closing_sig."""
        return self.unhandled(node_id, message)

    def handle_stfu(self, node_id: bytes, message: Stfu) -> HandlerResult:
        """Its stfu."""
        return self.unhandled(node_id, message)

    def handle_splice_init(self, node_id: bytes, message: SpliceInit) -> HandlerResult:
        """Its splice_init."""
        return self.unhandled(node_id, message)

    def handle_splice_ack(self, node_id: bytes, message: SpliceAck) -> HandlerResult:
        """Its splice_ack."""
        return self.unhandled(node_id, message)

    def handle_splice_locked(self, node_id: bytes, message: SpliceLocked) -> HandlerResult:
        """Its splice_locked."""
        return self.unhandled(node_id, message)

    def handle_tx_add_input(self, node_id: bytes, message: TxAddInput) -> HandlerResult:
        """Its tx_add_input."""
        return self.unhandled(node_id, message)

    def handle_tx_add_output(self, node_id: bytes, message: TxAddOutput) -> HandlerResult:
        """Its tx_add_output."""
        return self.unhandled(node_id, message)

    def handle_tx_remove_input(self, node_id: bytes, message: TxRemoveInput) -> HandlerResult:
        """Its tx_remove_input."""
        return self.unhandled(node_id, message)

    def handle_tx_remove_output(self, node_id: bytes, message: TxRemoveOutput) -> HandlerResult:
        """Its tx_remove_output."""
        return self.unhandled(node_id, message)

    def handle_tx_complete(self, node_id: bytes, message: TxComplete) -> HandlerResult:
        """Its tx_complete."""
        return self.unhandled(node_id, message)

    def handle_tx_signatures(self, node_id: bytes, message: TxSignatures) -> HandlerResult:
        """Its tx_signatures."""
        return self.unhandled(node_id, message)

    def handle_tx_init_rbf(self, node_id: bytes, message: TxInitRbf) -> HandlerResult:
        """Its tx_init_rbf."""
        return self.unhandled(node_id, message)

    def handle_tx_ack_rbf(self, node_id: bytes, message: TxAckRbf) -> HandlerResult:
        """Its tx_ack_rbf."""
        return self.unhandled(node_id, message)

    def handle_tx_abort(self, node_id: bytes, message: TxAbort) -> HandlerResult:
        """Its tx_abort."""
        return self.unhandled(node_id, message)

    def handle_update_add_htlc(self, node_id: bytes, message: UpdateAddHtlc) -> HandlerResult:
        """Its update_add_htlc."""
        return self.unhandled(node_id, message)

    def handle_update_fulfill_htlc(self, node_id: bytes, message: UpdateFulfillHtlc) -> HandlerResult:
        """Its update_fulfill_htlc."""
        return self.unhandled(node_id, message)

    def handle_update_fail_htlc(self, node_id: bytes, message: UpdateFailHtlc) -> HandlerResult:
        """Its update_fail_htlc."""
        return self.unhandled(node_id, message)

    def handle_update_fail_malformed_htlc(self, node_id: bytes, message: UpdateFailMalformedHtlc) -> HandlerResult:
        """Its update_fail_malformed_htlc."""
        return self.unhandled(node_id, message)

    def handle_commitment_signed(self, node_id: bytes, message: CommitmentSigned) -> HandlerResult:
        """Its commitment_signed."""
        return self.unhandled(node_id, message)

    def handle_commitment_signed_batch(
        self, node_id: bytes, channel_id: bytes, messages: tuple[CommitmentSigned, ...]
    ) -> HandlerResult:
        """What a start_batch announced, once it is complete: 2 to 20 commitment_signed of one channel.

        They do not go to `handle_commitment_signed`. While this method is not overridden, only the first is held; of a
        node that `protects` does not name, 640 KiB of one batch.
        """
        return self.unhandled(node_id, messages[0])

    def handle_revoke_and_ack(self, node_id: bytes, message: RevokeAndAck) -> HandlerResult:
        """Its revoke_and_ack."""
        return self.unhandled(node_id, message)

    def handle_update_fee(self, node_id: bytes, message: UpdateFee) -> HandlerResult:
        """Its update_fee."""
        return self.unhandled(node_id, message)

    def handle_channel_reestablish(self, node_id: bytes, message: ChannelReestablish) -> HandlerResult:
        """Its channel_reestablish."""
        return self.unhandled(node_id, message)

    def handle_announcement_signatures(self, node_id: bytes, message: AnnouncementSignatures) -> HandlerResult:
        """Its part of the signatures of a channel_announcement."""
        return self.unhandled(node_id, message)


_NO_CHANNELS: Final = b"channels are not supported here"


class ErroringMessageHandler(ChannelMessageHandler):
    """Answers every channel message with an error for its channel, as LDK's does, and keeps the connection.

    Danger: an error in answer to channel_reestablish makes the peer force-close that channel. Never use it with the key
    of a node that has, or had, channels. `ChannelMessageHandler` as it stands is the safe one.
    """

    def unhandled(self, node_id: bytes, message: Message) -> HandlerResult:
        channel_id = getattr(message, "channel_id", None) or getattr(message, "temporary_channel_id", None)
        if channel_id is None:  # peer_storage and its retrieval belong to no channel
            return None
        return SendErrorMessage(Error(channel_id=channel_id, data=_NO_CHANNELS))


class RoutingMessageHandler(BaseMessageHandler):
    """Gossip and the queries for it. As it stands: ignores everything, and does not offer gossip_queries.

    Who offers it has to answer: LND asks the first such peer and waits for it. For a handler that offers it and does
    not override `handle_query_channel_range` or `handle_query_short_channel_ids`, the manager says that there is
    nothing: one empty reply_channel_range, or a reply_short_channel_ids_end with full_information 0.
    """

    def handle_channel_announcement(self, node_id: bytes, message: ChannelAnnouncement) -> HandlerResult:
        """A channel_announcement, its own or passed on."""
        return None

    def handle_node_announcement(self, node_id: bytes, message: NodeAnnouncement) -> HandlerResult:
        """A node_announcement, its own or passed on."""
        return None

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> HandlerResult:
        """A channel_update, its own or passed on. The channel handler gets it too."""
        return None

    def handle_query_short_channel_ids(self, node_id: bytes, message: QueryShortChannelIds) -> HandlerResult:
        """Its query_short_channel_ids."""
        return None

    def handle_reply_short_channel_ids_end(self, node_id: bytes, message: ReplyShortChannelIdsEnd) -> HandlerResult:
        """Its reply_short_channel_ids_end."""
        return None

    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> HandlerResult:
        """Its query_channel_range."""
        return None

    def handle_reply_channel_range(self, node_id: bytes, message: ReplyChannelRange) -> HandlerResult:
        """Its reply_channel_range."""
        return None

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> HandlerResult:
        """Its gossip_timestamp_filter."""
        return None

    def next_gossip(self, node_id: bytes, room: int) -> Sequence[bytes]:
        """What this peer is to hear next: encoded messages, type bytes included, of at most `room` bytes together; or
        none, and the peer is not asked for again until `wake` names it.

        Asked when nothing waits to be written to the peer and its socket has room: so gossip waits for whoever reads
        slowly, and nothing is buffered for it. It is the first that is dropped when the connection ends. Anything else
        than that is a bug, as an exception is. Only asked of a handler that overrides it.
        """
        return ()

    def processing_queue_high(self, node_id: bytes) -> bool:
        """Whether so much of what this peer has said still waits that it alone is not to be read from. Asked after each
        of its gossip messages, and of one that is held back again when `wake` names it."""
        return False

    def last_announced(self, node_id: bytes) -> int:
        """The timestamp of the last node_announcement that is known of our node, 0 without one: the next one is later,
        whatever the clock says and however often we have started since."""
        return 0

    def announce(self, message: NodeAnnouncement) -> bool:
        """Our own new node_announcement. True: this handler gives it to whoever shall have it. As it stands the manager
        queues it to every peer that is connected."""
        return False

    def wake(self, node_ids: Iterable[bytes]) -> None:
        """Has `next_gossip` asked for these peers, each in its turn, as long as it gives something."""
        self.push(GossipWaits(tuple(node_ids)))


class OnionMessageHandler(BaseMessageHandler):
    """Onion messages. As it stands: ignores them, and does not offer option_onion_messages."""

    def handle_onion_message(self, node_id: bytes, message: OnionMessage) -> HandlerResult:
        """An onion message, sealed as it is."""
        return None


class CustomMessageHandler(BaseMessageHandler):
    """Messages of types that the BOLTs do not define and the registry knows. As it stands: ignores them."""

    def handle_custom_message(self, node_id: bytes, message: Message) -> HandlerResult:
        """A message of one of these types."""
        return None


class IgnoringMessageHandler(RoutingMessageHandler, OnionMessageHandler, CustomMessageHandler):
    """Ignores everything: for any place of MessageHandler but the first."""


@dataclass(frozen=True, slots=True)
class MessageHandler:
    """The four handlers of a PeerManager."""

    chan_handler: ChannelMessageHandler
    route_handler: RoutingMessageHandler
    onion_handler: OnionMessageHandler = field(default_factory=IgnoringMessageHandler)
    custom_handler: CustomMessageHandler = field(default_factory=IgnoringMessageHandler)

    @property
    def all(self) -> tuple[BaseMessageHandler, ...]:
        """Each handler once, in the order in which they hear of a peer: routing, channels, onion, custom."""
        once: list[BaseMessageHandler] = []
        for handler in (self.route_handler, self.chan_handler, self.onion_handler, self.custom_handler):
            if not any(handler is other for other in once):
                once.append(handler)
        return tuple(once)
