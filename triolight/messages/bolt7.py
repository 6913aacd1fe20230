"""BOLT 7: gossip and the queries for it. Declarations only."""

from __future__ import annotations

from typing import Annotated

from triolight import wire
from triolight.messages.declare import message, structure, tlv_stream
from triolight.messages.structures import Message, Structure, Tlv, TlvStream


@message(259)
class AnnouncementSignatures(Message):
    """The sender's half of the signatures of a channel_announcement."""

    channel_id: wire.channel_id
    short_channel_id: wire.short_channel_id
    node_signature: wire.signature
    bitcoin_signature: wire.signature


@message(256, gossip=True, signed=True)
class ChannelAnnouncement(Message):
    """Proves that a funding output is a channel between two nodes; signed by all four keys."""

    node_signature_1: wire.signature
    node_signature_2: wire.signature
    bitcoin_signature_1: wire.signature
    bitcoin_signature_2: wire.signature
    features: wire.bytes16
    chain_hash: wire.chain_hash
    short_channel_id: wire.short_channel_id
    node_id_1: wire.point
    node_id_2: wire.point
    bitcoin_key_1: wire.point
    bitcoin_key_2: wire.point


@message(257, gossip=True, signed=True)
class NodeAnnouncement(Message):
    """A node's own name, colour, features and addresses, signed by it."""

    signature: wire.signature
    features: wire.bytes16
    timestamp: wire.u32
    node_id: wire.point
    rgb_color: wire.bytes3
    alias: wire.bytes32
    addresses: wire.bytes16


@message(258, gossip=True, signed=True)
class ChannelUpdate(Message):
    """The fees and limits of one direction of a channel, signed by the node that forwards over it."""

    signature: wire.signature
    chain_hash: wire.chain_hash
    short_channel_id: wire.short_channel_id
    timestamp: wire.u32
    message_flags: wire.byte
    channel_flags: wire.byte
    cltv_expiry_delta: wire.u16
    htlc_minimum_msat: wire.u64
    fee_base_msat: wire.u32
    fee_proportional_millionths: wire.u32
    htlc_maximum_msat: wire.u64


@structure
class QueryFlags(Structure):
    encoding_type: wire.byte
    encoded_query_flags: wire.remainder


@tlv_stream
class QueryShortChannelIdsTlvs(TlvStream):
    query_flags: Annotated[QueryFlags | None, Tlv(1)] = None


@message(261, gossip=True, query=True)
class QueryShortChannelIds(Message):
    """Asks for the gossip of these channels."""

    chain_hash: wire.chain_hash
    encoded_short_ids: wire.bytes16
    tlvs: QueryShortChannelIdsTlvs = QueryShortChannelIdsTlvs()


@message(262, gossip=True)
class ReplyShortChannelIdsEnd(Message):
    """The end of the answer to query_short_channel_ids."""

    chain_hash: wire.chain_hash
    full_information: wire.byte


@tlv_stream
class QueryChannelRangeTlvs(TlvStream):
    query_option: Annotated[wire.bigsize | None, Tlv(1, "query_option_flags")] = None


@message(263, gossip=True, query=True)
class QueryChannelRange(Message):
    """Asks which channels have their funding in a range of blocks."""

    chain_hash: wire.chain_hash
    first_blocknum: wire.u32
    number_of_blocks: wire.u32
    tlvs: QueryChannelRangeTlvs = QueryChannelRangeTlvs()


@structure
class ChannelUpdateChecksums(Structure):
    checksum_node_id_1: wire.u32
    checksum_node_id_2: wire.u32


@structure
class Timestamps(Structure):
    encoding_type: wire.byte
    encoded_timestamps: wire.remainder


@tlv_stream
class ReplyChannelRangeTlvs(TlvStream):
    timestamps_tlv: Annotated[Timestamps | None, Tlv(1)] = None
    checksums_tlv: Annotated[wire.rest[ChannelUpdateChecksums] | None, Tlv(3, "checksums")] = None


@message(264, gossip=True)
class ReplyChannelRange(Message):
    """A part of the answer to query_channel_range."""

    chain_hash: wire.chain_hash
    first_blocknum: wire.u32
    number_of_blocks: wire.u32
    sync_complete: wire.byte
    encoded_short_ids: wire.bytes16
    tlvs: ReplyChannelRangeTlvs = ReplyChannelRangeTlvs()


@message(265, query=True)
class GossipTimestampFilter(Message):
    """From now on, send gossip with a timestamp from first_timestamp on, for timestamp_range seconds."""

    chain_hash: wire.chain_hash
    first_timestamp: wire.u32
    timestamp_range: wire.u32
