"""What a back wants of its fronts, as managers are made for it."""

from __future__ import annotations

from tests.support import identity
from tests.support.fleets import CONFIG
from triolight.cluster.records import Config
from triolight.cluster.wanted import FleetConfig
from triolight.messages import Init, Ping


def test_what_a_configuration_makes_of_a_manager() -> None:
    config: Config = CONFIG.replace(features=b"\x08\xa0", types=(32, 40001), networks=(bytes(32),))
    wanted = FleetConfig(config)
    assert wanted.messages.get(18) is Ping
    assert wanted.messages.get(16) is Init
    note = wanted.messages.decode(b"\x9c\x41\x01\x02")
    assert (type(note).__name__, note.encode()) == ("Message40001", b"\x9c\x41\x01\x02")
    handlers = wanted.handlers()
    assert handlers.chan_handler.provided_init_features(identity(2)).to_bytes() == b"\x08\xa0"
    assert handlers.route_handler.provided_init_features(identity(2)).to_bytes() == b""
    assert wanted.networks == (bytes(32),)
