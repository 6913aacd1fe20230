"""Any bytes to `BOLT.decode`, and what can be asked of what decodes.

    python -m fuzz.decode -max_total_time=600 -max_len=2048 fuzz/corpus/decode

A finding is any exception but DecodeError, an error without a place, a message that does not come back byte for byte,
directly or through JSON.
"""

from __future__ import annotations

import json

from triolight import gossip
from triolight.as_json import from_json, to_json
from triolight.errors import DecodeError
from triolight.messages import BOLT, Message, NodeAnnouncement, QueryShortChannelIds, ReplyChannelRange, UnknownMessage


class Finding(Exception):
    """What must not be."""


def one_input(data: bytes) -> None:
    """Runs one input. Raises for a finding."""
    try:
        message = BOLT.decode(data)
    except DecodeError as error:
        if error.offset is None or not 0 <= error.offset <= len(data) or (len(data) >= 2 and not error.field):
            raise Finding(f"an error without a place: {error!r}") from error
        return
    if message.encode() != data:
        raise Finding("other bytes come back")
    if from_json(json.loads(json.dumps(to_json(message)))) != message:
        raise Finding("another message comes back from JSON")
    repr(message)
    look_inside(message)


def look_inside(message: Message | UnknownMessage) -> None:
    """What BOLT 7 keeps inside fields: its readers refuse with DecodeError too."""
    try:
        match message:
            case NodeAnnouncement():
                gossip.addresses_of(message)
                if not gossip.display_alias(message.alias).isprintable():
                    raise Finding("an alias that must not reach a terminal")
            case QueryShortChannelIds():
                ids = gossip.decode_short_ids(message.encoded_short_ids)
                if message.tlvs.query_flags is not None:
                    gossip.decode_query_flags(message.tlvs.query_flags, len(ids))
            case ReplyChannelRange():
                gossip.decode_short_ids(message.encoded_short_ids)
                if message.tlvs.timestamps_tlv is not None:
                    gossip.decode_timestamps(message.tlvs.timestamps_tlv)
            case _:
                pass
    except DecodeError:
        pass


if __name__ == "__main__":
    from fuzz.engine import fuzz

    fuzz(one_input)
