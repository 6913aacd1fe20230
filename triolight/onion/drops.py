"""Why an onion message is dropped: for our own log and counters. Nobody else ever hears a word of it."""

from __future__ import annotations

from enum import Enum, unique

from triolight.errors import TriolightError

__all__ = ["Drop", "OnionDropped"]


@unique
class Drop(Enum):
    """What was wrong with a message, or with where it should go."""

    RATE = "more than the sender may send"
    RATE_OF_ALL = "more than all peers together may send"
    LENGTH = "too short for a packet"
    VERSION = "not version 0"
    POINT = "its key is no point"
    HMAC = "not sealed for us, or changed on its way"
    FRAME = "its payload does not fit its length"
    PAYLOAD = "its payload is no valid TLV stream"
    PAYLOAD_OF_HOP = "a hop's payload with more than its encrypted data"
    SEVERAL_PAYLOADS = "more than one thing to say"
    REPLY_PATH = "a reply path without hops"
    SEALED_DATA = "encrypted data that does not open"
    DATA = "encrypted data that is no valid TLV stream"
    FEATURES = "features that nobody knows"
    PATH_ID_AT_HOP = "a path_id before the end of its path"
    NO_NEXT = "no word about the next node"
    UNKNOWN_CHANNEL = "the next node is the end of a channel that is not known"
    OWN_LAYERS = "too many layers for ourselves"
    FORWARDING_OFF = "not ours, and nothing is forwarded here"
    BACK = "the next node is the one that it came from"
    NOT_CONNECTED = "the next node is not connected"
    NOT_OFFERED = "the next node does not take onion messages"
    WAITING = "too much waits for the next node already"
    NOT_ASKED = "an answer that nobody waits for"
    UNREAD = "nobody has room for it"


class OnionDropped(TriolightError):
    """A message that goes no further. `drop` says why."""

    def __init__(self, drop: Drop) -> None:
        super().__init__(drop.value)
        self.drop = drop
