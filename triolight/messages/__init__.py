"""Every message of the BOLTs, and `BOLT`, the registry of them. Only puts together what the other files declare."""

from __future__ import annotations

from types import ModuleType

from triolight.messages import bolt1, bolt2, bolt4, bolt7
from triolight.messages.bolt1 import ALL_CHANNELS as ALL_CHANNELS
from triolight.messages.bolt1 import Error as Error
from triolight.messages.bolt1 import Init as Init
from triolight.messages.bolt1 import InitTlvs as InitTlvs
from triolight.messages.bolt1 import PeerStorage as PeerStorage
from triolight.messages.bolt1 import PeerStorageRetrieval as PeerStorageRetrieval
from triolight.messages.bolt1 import Ping as Ping
from triolight.messages.bolt1 import Pong as Pong
from triolight.messages.bolt1 import Warning as Warning
from triolight.messages.bolt2 import AcceptChannel as AcceptChannel
from triolight.messages.bolt2 import AcceptChannel2 as AcceptChannel2
from triolight.messages.bolt2 import AcceptChannelTlvs as AcceptChannelTlvs
from triolight.messages.bolt2 import AcceptTlvs as AcceptTlvs
from triolight.messages.bolt2 import AttributionData as AttributionData
from triolight.messages.bolt2 import ChannelReady as ChannelReady
from triolight.messages.bolt2 import ChannelReadyTlvs as ChannelReadyTlvs
from triolight.messages.bolt2 import ChannelReestablish as ChannelReestablish
from triolight.messages.bolt2 import ChannelReestablishTlvs as ChannelReestablishTlvs
from triolight.messages.bolt2 import ClosingComplete as ClosingComplete
from triolight.messages.bolt2 import ClosingSig as ClosingSig
from triolight.messages.bolt2 import ClosingSigned as ClosingSigned
from triolight.messages.bolt2 import ClosingSignedTlvs as ClosingSignedTlvs
from triolight.messages.bolt2 import ClosingTlvs as ClosingTlvs
from triolight.messages.bolt2 import CommitmentSigned as CommitmentSigned
from triolight.messages.bolt2 import CommitmentSignedTlvs as CommitmentSignedTlvs
from triolight.messages.bolt2 import FeeRange as FeeRange
from triolight.messages.bolt2 import FundingCreated as FundingCreated
from triolight.messages.bolt2 import FundingSigned as FundingSigned
from triolight.messages.bolt2 import MyCurrentFundingLocked as MyCurrentFundingLocked
from triolight.messages.bolt2 import NextFunding as NextFunding
from triolight.messages.bolt2 import OpenChannel as OpenChannel
from triolight.messages.bolt2 import OpenChannel2 as OpenChannel2
from triolight.messages.bolt2 import OpenChannelTlvs as OpenChannelTlvs
from triolight.messages.bolt2 import OpeningTlvs as OpeningTlvs
from triolight.messages.bolt2 import RevokeAndAck as RevokeAndAck
from triolight.messages.bolt2 import Shutdown as Shutdown
from triolight.messages.bolt2 import SpliceAck as SpliceAck
from triolight.messages.bolt2 import SpliceAckTlvs as SpliceAckTlvs
from triolight.messages.bolt2 import SpliceInit as SpliceInit
from triolight.messages.bolt2 import SpliceInitTlvs as SpliceInitTlvs
from triolight.messages.bolt2 import SpliceLocked as SpliceLocked
from triolight.messages.bolt2 import StartBatch as StartBatch
from triolight.messages.bolt2 import StartBatchTlvs as StartBatchTlvs
from triolight.messages.bolt2 import Stfu as Stfu
from triolight.messages.bolt2 import TxAbort as TxAbort
from triolight.messages.bolt2 import TxAckRbf as TxAckRbf
from triolight.messages.bolt2 import TxAckRbfTlvs as TxAckRbfTlvs
from triolight.messages.bolt2 import TxAddInput as TxAddInput
from triolight.messages.bolt2 import TxAddInputTlvs as TxAddInputTlvs
from triolight.messages.bolt2 import TxAddOutput as TxAddOutput
from triolight.messages.bolt2 import TxComplete as TxComplete
from triolight.messages.bolt2 import TxInitRbf as TxInitRbf
from triolight.messages.bolt2 import TxInitRbfTlvs as TxInitRbfTlvs
from triolight.messages.bolt2 import TxRemoveInput as TxRemoveInput
from triolight.messages.bolt2 import TxRemoveOutput as TxRemoveOutput
from triolight.messages.bolt2 import TxSignatures as TxSignatures
from triolight.messages.bolt2 import TxSignaturesTlvs as TxSignaturesTlvs
from triolight.messages.bolt2 import UpdateAddHtlc as UpdateAddHtlc
from triolight.messages.bolt2 import UpdateAddHtlcTlvs as UpdateAddHtlcTlvs
from triolight.messages.bolt2 import UpdateFailHtlc as UpdateFailHtlc
from triolight.messages.bolt2 import UpdateFailHtlcTlvs as UpdateFailHtlcTlvs
from triolight.messages.bolt2 import UpdateFailMalformedHtlc as UpdateFailMalformedHtlc
from triolight.messages.bolt2 import UpdateFee as UpdateFee
from triolight.messages.bolt2 import UpdateFulfillHtlc as UpdateFulfillHtlc
from triolight.messages.bolt2 import UpdateFulfillHtlcTlvs as UpdateFulfillHtlcTlvs
from triolight.messages.bolt2 import Witness as Witness
from triolight.messages.bolt4 import BlindedPath as BlindedPath
from triolight.messages.bolt4 import BlindedPathHop as BlindedPathHop
from triolight.messages.bolt4 import EncryptedDataTlv as EncryptedDataTlv
from triolight.messages.bolt4 import OnionMessage as OnionMessage
from triolight.messages.bolt4 import OnionMessagePacket as OnionMessagePacket
from triolight.messages.bolt4 import OnionmsgTlv as OnionmsgTlv
from triolight.messages.bolt4 import PaymentConstraints as PaymentConstraints
from triolight.messages.bolt4 import PaymentRelay as PaymentRelay
from triolight.messages.bolt7 import AnnouncementSignatures as AnnouncementSignatures
from triolight.messages.bolt7 import ChannelAnnouncement as ChannelAnnouncement
from triolight.messages.bolt7 import ChannelUpdate as ChannelUpdate
from triolight.messages.bolt7 import ChannelUpdateChecksums as ChannelUpdateChecksums
from triolight.messages.bolt7 import GossipTimestampFilter as GossipTimestampFilter
from triolight.messages.bolt7 import NodeAnnouncement as NodeAnnouncement
from triolight.messages.bolt7 import QueryChannelRange as QueryChannelRange
from triolight.messages.bolt7 import QueryChannelRangeTlvs as QueryChannelRangeTlvs
from triolight.messages.bolt7 import QueryFlags as QueryFlags
from triolight.messages.bolt7 import QueryShortChannelIds as QueryShortChannelIds
from triolight.messages.bolt7 import QueryShortChannelIdsTlvs as QueryShortChannelIdsTlvs
from triolight.messages.bolt7 import ReplyChannelRange as ReplyChannelRange
from triolight.messages.bolt7 import ReplyChannelRangeTlvs as ReplyChannelRangeTlvs
from triolight.messages.bolt7 import ReplyShortChannelIdsEnd as ReplyShortChannelIdsEnd
from triolight.messages.bolt7 import Timestamps as Timestamps
from triolight.messages.declare import message as message
from triolight.messages.declare import structure as structure
from triolight.messages.declare import tlv_stream as tlv_stream
from triolight.messages.lsps import LSPS0 as LSPS0
from triolight.messages.outside import OUTSIDE as OUTSIDE
from triolight.messages.outside import OutsideType as OutsideType
from triolight.messages.outside import describe_type as describe_type
from triolight.messages.registry import Registry as Registry
from triolight.messages.registry import opaque as opaque
from triolight.messages.structures import AnyMessage as AnyMessage
from triolight.messages.structures import Field as Field
from triolight.messages.structures import Message as Message
from triolight.messages.structures import Structure as Structure
from triolight.messages.structures import Tlv as Tlv
from triolight.messages.structures import TlvStream as TlvStream
from triolight.messages.structures import UnknownMessage as UnknownMessage
from triolight.messages.weight import MESSAGE_OVERHEAD as MESSAGE_OVERHEAD
from triolight.messages.weight import pieces_of as pieces_of

__all__ = [
    "ALL_CHANNELS",
    "BOLT",
    "LSPS0",
    "MESSAGE_OVERHEAD",
    "OUTSIDE",
    "AcceptChannel",
    "AcceptChannel2",
    "AcceptChannelTlvs",
    "AcceptTlvs",
    "AnnouncementSignatures",
    "AnyMessage",
    "AttributionData",
    "BlindedPath",
    "BlindedPathHop",
    "ChannelAnnouncement",
    "ChannelReady",
    "ChannelReadyTlvs",
    "ChannelReestablish",
    "ChannelReestablishTlvs",
    "ChannelUpdate",
    "ChannelUpdateChecksums",
    "ClosingComplete",
    "ClosingSig",
    "ClosingSigned",
    "ClosingSignedTlvs",
    "ClosingTlvs",
    "CommitmentSigned",
    "CommitmentSignedTlvs",
    "EncryptedDataTlv",
    "Error",
    "FeeRange",
    "Field",
    "FundingCreated",
    "FundingSigned",
    "GossipTimestampFilter",
    "Init",
    "InitTlvs",
    "Message",
    "MyCurrentFundingLocked",
    "NextFunding",
    "NodeAnnouncement",
    "OnionMessage",
    "OnionMessagePacket",
    "OnionmsgTlv",
    "OpenChannel",
    "OpenChannel2",
    "OpenChannelTlvs",
    "OpeningTlvs",
    "OutsideType",
    "PaymentConstraints",
    "PaymentRelay",
    "PeerStorage",
    "PeerStorageRetrieval",
    "Ping",
    "Pong",
    "QueryChannelRange",
    "QueryChannelRangeTlvs",
    "QueryFlags",
    "QueryShortChannelIds",
    "QueryShortChannelIdsTlvs",
    "Registry",
    "ReplyChannelRange",
    "ReplyChannelRangeTlvs",
    "ReplyShortChannelIdsEnd",
    "RevokeAndAck",
    "Shutdown",
    "SpliceAck",
    "SpliceAckTlvs",
    "SpliceInit",
    "SpliceInitTlvs",
    "SpliceLocked",
    "StartBatch",
    "StartBatchTlvs",
    "Stfu",
    "Structure",
    "Timestamps",
    "Tlv",
    "TlvStream",
    "TxAbort",
    "TxAckRbf",
    "TxAckRbfTlvs",
    "TxAddInput",
    "TxAddInputTlvs",
    "TxAddOutput",
    "TxComplete",
    "TxInitRbf",
    "TxInitRbfTlvs",
    "TxRemoveInput",
    "TxRemoveOutput",
    "TxSignatures",
    "TxSignaturesTlvs",
    "UnknownMessage",
    "UpdateAddHtlc",
    "UpdateAddHtlcTlvs",
    "UpdateFailHtlc",
    "UpdateFailHtlcTlvs",
    "UpdateFailMalformedHtlc",
    "UpdateFee",
    "UpdateFulfillHtlc",
    "UpdateFulfillHtlcTlvs",
    "Warning",
    "Witness",
    "describe_type",
    "message",
    "opaque",
    "pieces_of",
    "structure",
    "tlv_stream",
]


def _declared_in(*modules: ModuleType) -> list[type[Message]]:
    return [
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Message) and one.__module__ == module.__name__
    ]


BOLT: Registry = Registry(_declared_in(bolt1, bolt2, bolt4, bolt7))
"""Every message that BOLT 1, 2, 4 and 7 define."""
