"""What we say of ourselves and hear of them at first: both Inits, our node_announcement, answers for who has none.

Makes messages and judges the peer's Init; sends nothing, asks no handler, knows no entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from triolight.address import (
    Address,
    DnsAddress,
    IPv4Address,
    IPv6Address,
    descriptor_of,
    is_public,
    unmapped,
    write_address,
)
from triolight.connection import RefuseFeatures, check_init
from triolight.features import Features
from triolight.gossip import NOTHING, sign_announcement
from triolight.keys import SecretKey
from triolight.messages import (
    Init,
    Message,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.messages.bolt1 import InitTlvs
from triolight.messages.structures import unknown_up_to
from triolight.messages.weight import ITEM_OVERHEAD

MAX_ANNOUNCED_ADDRESSES: Final = 100
"""Of a node_announcement of ours; LDK's limit."""
KEPT_FEATURE_BYTES: Final = 8 * 1024
"""Of a peer's features, kept as long as it is connected: 65,536 bits, of which the BOLTs and the others use 2,000."""
KEPT_OTHER_BYTES: Final = 8 * 1024
"""All else of its Init, as what it takes in memory: an Init may have 64 KB, and as objects twenty times that."""
_NETWORK_BYTES: Final = 32 + ITEM_OVERHEAD


class Greeting:
    """One node's: its key, its networks, what it refuses, and when it last announced itself."""

    def __init__(
        self,
        key: SecretKey,
        networks: tuple[bytes, ...],
        refuse_features: RefuseFeatures,
        unix_time: Callable[[], float],
    ) -> None:
        self.networks: Final = networks
        self.refuse_features: Final[RefuseFeatures] = refuse_features
        self._key: Final = key
        self._unix_time: Final = unix_time
        self._last_announcement = 0

    def our_init(self, features: Features, address: Address | None, inbound: bool) -> Init:
        """For a peer that is at this address, as far as we know."""
        address = None if address is None else unmapped(address)
        # BOLT 1: tell an inbound peer where it comes from; and not if that is a private address.
        tell = inbound and address is not None and is_public(address)
        return Init(
            globalfeatures=features.globalfeatures.to_bytes(),
            features=features.to_bytes(),
            tlvs=InitTlvs(
                networks=self.networks or None,
                remote_addr=write_address(address) if tell and address is not None else None,
            ),
        )

    def features_of(self, init: Init, ours: Features) -> Features:
        """Of a peer whose Init fits what we offer it. ProtocolFault says what does not."""
        return check_init(init, ours, self.networks, self.refuse_features)

    def announcement(
        self,
        features: Callable[[], Features],
        rgb: bytes,
        alias: bytes,
        addresses: Iterable[Address | tuple[str, int]],
        last: int = 0,
    ) -> NodeAnnouncement:
        """Our next node_announcement, signed, later than the one before, and than `last`. ValueError for what BOLT 7
        forbids."""
        if len(alias) > 32:
            raise ValueError(f"an alias has at most 32 bytes, not {len(alias)}")
        try:
            alias.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"an alias is UTF-8: {error}") from None
        offered = features()
        described = [descriptor_of(*one) if isinstance(one, tuple) else one for one in addresses]
        if len(described) > MAX_ANNOUNCED_ADDRESSES:
            raise ValueError(f"{len(described)} addresses; {MAX_ANNOUNCED_ADDRESSES} are the most")
        if sum(isinstance(one, DnsAddress) for one in described) > 1:
            raise ValueError("BOLT 7 allows one host name")
        if any(isinstance(one, IPv4Address | IPv6Address | DnsAddress) and not one.port for one in described):
            raise ValueError("BOLT 7 allows no port 0")
        written = sorted((write_address(one) for one in described), key=lambda one: one[0])
        self._last_announcement = max(int(self._unix_time()), self._last_announcement + 1, last + 1)
        unsigned = NodeAnnouncement(
            signature=bytes(64),
            features=offered.to_bytes(),
            timestamp=self._last_announcement,
            node_id=self._key.public_key,
            rgb_color=rgb,
            alias=alias.ljust(32, b"\0"),
            addresses=b"".join(written),
        )
        return sign_announcement(unsigned, self._key)


def kept_init(init: Init) -> Init:
    """What stays of a peer's Init that was accepted: itself, if it is of a usual size. Of another one its lowest
    `KEPT_FEATURE_BYTES` of features, and of globalfeatures, networks, address and unknown records, in this order, what
    `KEPT_OTHER_BYTES` hold. Such an Init does not encode to what came."""
    tlvs, room = init.tlvs, KEPT_OTHER_BYTES
    features = init.features[-KEPT_FEATURE_BYTES:]
    global_features = init.globalfeatures[-room:]
    room -= len(global_features)
    networks = tlvs.networks and tlvs.networks[: room // _NETWORK_BYTES]
    room -= len(networks or ()) * _NETWORK_BYTES
    address = tlvs.remote_addr if len(tlvs.remote_addr or b"") <= room else None
    room -= len(address or b"")
    unknown: Any = unknown_up_to(tlvs, room)  # as bytes, which is how a stream holds what came
    cut = (global_features, features, networks, address, unknown.count)
    if cut == (init.globalfeatures, init.features, tlvs.networks, tlvs.remote_addr, tlvs.unknown_count):
        return init
    kept = InitTlvs(networks=networks or None, remote_addr=address, unknown=unknown)
    return Init(globalfeatures=global_features, features=features, tlvs=kept)


def _no_channels(query: QueryChannelRange) -> Message:
    return ReplyChannelRange(
        chain_hash=query.chain_hash,
        first_blocknum=query.first_blocknum,
        number_of_blocks=query.number_of_blocks,
        sync_complete=1,
        encoded_short_ids=NOTHING,
    )


def _no_information(query: QueryShortChannelIds) -> Message:
    return ReplyShortChannelIdsEnd(chain_hash=query.chain_hash, full_information=0)


EMPTY_ANSWERS: Final[Mapping[type[Message], Callable[[Any], Message]]] = {
    QueryChannelRange: _no_channels,
    QueryShortChannelIds: _no_information,
}
"""For a routing handler that offers gossip_queries and does not answer: LND waits for the first such peer."""
