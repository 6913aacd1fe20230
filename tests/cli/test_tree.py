"""The tree says what a message means, of every message that there is a vector of."""

from __future__ import annotations

from tests.cli.decoding import BOLT7, HEX, run
from triolight.messages import BOLT, NodeAnnouncement, QueryShortChannelIds


def test_the_tree_explains() -> None:
    announcement = next(one for one in BOLT7["real"]["node_announcement"])["bytes"]
    shown = run("decode", "--hex", announcement)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("node_announcement (257), ")
    assert lines[0].endswith(", signed")
    assert "  alias: 74657374206e6f64650000000000000000000000000000000000000000000000  # 'test node'" in lines
    assert "  addresses: 018c5279042607  # 140.82.121.4:9735" in lines
    assert "  timestamp: 1643969565  # 2022-02-04 10:12:45 UTC" in lines
    flipped = BOLT.decode(bytes.fromhex(announcement))
    assert isinstance(flipped, NodeAnnouncement)
    shown = run("decode", "--hex", flipped.replace(timestamp=1).encode().hex())
    assert "NOT validly signed" in shown.stdout


def test_the_tree_shows_every_vector_and_every_address() -> None:
    made = [one["bytes"] for one in BOLT7["synthetic"]["messages"] if one["parses"]]
    shown = run("decode", given="\n".join(HEX + made))
    assert shown.exit_code == 0
    for words in (
        "[2001:db8::1]:9735",
        ".onion:9735",
        "ln.example.org:9735",
        "unknown type 6 (2 bytes)",
        "tlvs:",
    ):
        assert words in shown.stdout
    assert "address type 5 needs" in shown.stdout  # cut short: the message is shown all the same
    assert "\x1b" not in shown.stdout


def test_the_tree_says_what_nobody_knows() -> None:
    shown = run("decode", given="cf13aabb\n8001\n")
    assert shown.stdout.splitlines() == [
        "unknown message, type 53011 (commit_sig_batch of eclair, outside the BOLTs), 4 bytes",
        "  payload: aabb",
        "unknown message, type 32769, 2 bytes",
        "  payload: (empty)",
    ]
    shown = run("decode", given="9419" + b'{"id":"1"}\x1b[31m'.hex())
    assert shown.stdout.splitlines()[0] == "lsps0 (37913), 17 bytes"
    assert "\x1b" not in shown.stdout


def test_long_lists_are_cut_in_the_tree_only() -> None:
    many = QueryShortChannelIds(chain_hash=bytes(32), encoded_short_ids=bytes(800)).encode().hex()
    assert run("decode", given=many).exit_code == 0
    commitment = next(one for one in HEX if one.startswith("0084"))
    signatures = commitment[: 4 + 64 + 128] + "0064" + "11" * 6400
    shown = run("decode", given=signatures)
    assert "  htlc_signature: 100 items" in shown.stdout
    assert "    ... 80 more" in shown.stdout
