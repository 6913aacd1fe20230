"""What the application plugs into the PeerManager: handler classes.

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
from typing import Final

from triolight.actions import (
    EVENTS,
    ErrorAction,
    GossipWaits,
    HandlerResult,
    MessageSendEvent,
    SendErrorMessage,
)
from triolight.features import Features
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
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
)

__all__ = [
    "BaseMessageHandler",
    "ChannelMessageHandler",
    "CustomMessageHandler",
    "ErroringMessageHandler",
    "IgnoringMessageHandler",
    "MessageHandler",
    "OnionMessageHandler",
    "RoutingMessageHandler",
]


class BaseMessageHandler:
    """What every handler has. Its defaults accept every peer, offer nothing and say nothing."""

    def __init__(self) -> None:
        self._events: list[MessageSendEvent] = []
        self._on_work: Callable[[], None] | None = None
        self._charge: Callable[[bytes, int, bool], None] | None = None

    def _pending(self) -> list[MessageSendEvent]:
        # A subclass may have forgotten super().__init__(); its first event shall not be an AttributeError.
        if not hasattr(self, "_events"):
            BaseMessageHandler.__init__(self)
        return self._events

    def attach(self, on_work: Callable[[], None], charge: Callable[[bytes, int, bool], None] | None = None) -> None:
        """The manager's: `on_work` is called when an event was pushed, `charge` is the manager's."""
        self._pending()
        self._on_work = on_work
        self._charge = charge

    def charge(self, node_id: bytes, units: int, *, ours: bool = False) -> None:
        """A peer has caused so many units of work, each as much as a small message. The pump's turn is over the sooner,
        and the peer is read more slowly, unless it was `ours` to ask for it. Without a manager nothing happens."""
        self._pending()
        if self._charge is not None:
            self._charge(node_id, units, ours)

    def push(self, event: MessageSendEvent) -> None:
        """Queues an event; the manager takes it at once if it is driven by `open_peer_nursery`. TypeError for what is
        none."""
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
        """A peer's Init fits ours. None or True: accepted. False or an action: disconnected, with the action's words.

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
        none, and the peer is not asked for again until `wake` names it. Anything else is a bug, as an exception is.

        Asked when nothing waits to be written to the peer and its socket has room, so nothing is buffered for who reads
        slowly; dropped first when the connection ends. Only asked of a handler that overrides it."""
        return ()

    def processing_queue_high(self, node_id: bytes) -> bool:
        """Whether so much of a peer's waits that it is not read from: asked after its gossip, and when it is woken."""
        return False

    def last_announced(self, node_id: bytes) -> int:
        """The timestamp of our last node_announcement, 0 if none is known. The next one is later."""
        return 0

    def announce(self, message: NodeAnnouncement) -> bool:
        """Our new node_announcement. True: this handler sees to it; else the manager queues it to every peer."""
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
