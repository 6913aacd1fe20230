"""BOLT 8: each vector of its appendix and those derived from it, fragmentation, changed bits, and secrets."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import triolight
from tests.support import independent
from tests.support.inside import keys_of
from triolight.keys import SecretKey
from triolight.noise import (
    TOGETHER_BYTES,
    EphemeralKeys,
    Fault,
    Handshake,
    HandshakeFailed,
    Opener,
    PacketFailed,
    Sealer,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "bolt8_vectors.json").read_text())
KEY, CK = bytes.fromhex(VECTORS["message"]["sk"]), bytes.fromhex(VECTORS["message"]["ck"])
RK = bytes.fromhex(VECTORS["message"]["rk"])


def expected(case: dict[str, Any]) -> str | None:
    """The name of a case's error. The appendix is not of one mind about what stands behind it."""
    return case["error"].split()[0] if "error" in case else None


def name_of(error: HandshakeFailed) -> str:
    """As the appendix calls it."""
    return f"ACT{error.act}_{error.fault.name}"


def hang_up(handshake: Handshake) -> str | None:
    """What the appendix calls it when the other side hangs up now; None once there is nothing left to read."""
    return None if handshake.complete else f"ACT{handshake.act}_READ_FAILED"


def play(case: dict[str, Any], chunk: int) -> tuple[Handshake, str | None]:
    """Goes through a case, feeding `chunk` bytes at a time; checks every byte that comes out. Gives its error."""
    initiator = case["role"] == "initiator"
    handshake = Handshake(
        SecretKey(bytes.fromhex(case["ls_priv"])),
        SecretKey(bytes.fromhex(case["e_priv"])),
        bytes.fromhex(case["rs_pub"]) if initiator else None,
    )
    out = handshake.act_one() if initiator else b""
    try:
        for step in case["steps"]:
            data = bytes.fromhex(step["bytes"])
            if step["dir"] == "out":
                assert out == data
                out = b""
                continue
            assert out == b""
            for at in range(0, len(data), chunk):
                answer, rest = handshake.receive(data[at : at + chunk])
                assert rest == b""
                out += answer
        assert out == b""
    except HandshakeFailed as error:
        return handshake, name_of(error)
    return handshake, hang_up(handshake)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("case", VECTORS["handshake"], ids=lambda case: case["name"])
def test_handshake_vectors(case: dict[str, Any], chunk: int) -> None:
    handshake, error = play(case, chunk)
    assert error == expected(case)
    if error is not None:
        assert not handshake.complete
        return
    assert handshake.opener is not None
    assert handshake.sealer is not None
    first, second = (case["sk"], case["rk"])
    assert keys_of(handshake.sealer)[0].hex() == first
    assert keys_of(handshake.opener)[0].hex() == second
    assert keys_of(handshake.sealer)[1].hex() == keys_of(handshake.opener)[1].hex() == case["ck"]


@pytest.mark.parametrize("case", VECTORS["derived_handshake_failures"], ids=lambda case: case["name"])
def test_derived_handshake_failures(case: dict[str, Any]) -> None:
    good = VECTORS["handshake"][5]
    handshake = Handshake(SecretKey(bytes.fromhex(good["ls_priv"])), SecretKey(bytes.fromhex(good["e_priv"])), None)
    try:
        out, _ = handshake.receive(bytes.fromhex(case["bytes"]))
        assert out == b""
        error = hang_up(handshake)
    except HandshakeFailed as found:
        error = name_of(found)
    assert error == expected(case)


def test_a_wrong_version_does_not_wait_for_the_rest() -> None:
    handshake = Handshake(SecretKey(KEY), SecretKey(CK), None)
    with pytest.raises(HandshakeFailed) as caught:
        handshake.receive(b"\x01")
    assert caught.value.fault is Fault.BAD_VERSION


def test_message_vectors_with_rotation() -> None:
    message = VECTORS["message"]
    sealer, opener = Sealer(KEY, CK), Opener(KEY, CK)
    digest = hashlib.sha256()
    rotated = {entry["after_messages"]: entry for entry in message["rotated_keys"]}
    for number in range(1002):
        packet = sealer.seal(b"hello")
        digest.update(packet)
        if str(number) in message["outputs"]:
            assert packet.hex() == message["outputs"][str(number)]
        if number in rotated:
            key, chaining_key = keys_of(sealer)
            assert (key.hex(), chaining_key.hex()) == (rotated[number]["sk"], rotated[number]["ck"])
        opener.feed(packet)
        assert opener.next_message() == b"hello"
        assert opener.next_message() is None
    assert digest.hexdigest() == message["sha256_of_all_1002_outputs_concatenated"]


def test_messages_that_are_sealed_together_are_packets_as_one_by_one() -> None:
    """Over two rotations of the key, the first of them in the middle of a row."""
    messages = [bytes(number % 7) for number in range(990)] + [bytes(2047), bytes(2048), bytes(65535)] * 5
    together, single = Sealer(KEY, CK), Sealer(KEY, CK)
    sealed = b"".join(together.seal_all(messages[at : at + 300]) for at in range(0, len(messages), 300))
    assert sealed == b"".join(map(single.seal, messages))
    assert together.seal_all([]) == b""
    assert keys_of(together) == keys_of(single) != (KEY, CK)
    with pytest.raises(ValueError, match="65535"):
        together.seal_all([b"", bytes(65536), b""])
    single.seal(b"")  # that nonce is spent, though nobody has its packet
    assert together.seal(b"next") == single.seal(b"next")
    with pytest.raises(TypeError):
        together.seal_all([b"", "text"])  # type: ignore[list-item]  # its length is encrypted by then
    # Compiled, it is no message to begin with, and no nonce is spent on it.
    for _ in range(1 if "triolight.noise" in triolight.__compiled__ else 2):
        single.seal(b"")
    assert together.seal(b"next") == single.seal(b"next")


@pytest.mark.parametrize("most", [1, 7, 1000])
@pytest.mark.parametrize("piece", [1, 50, 4000, 10**9])
def test_messages_that_are_opened_together_are_those_of_one_by_one(most: int, piece: int) -> None:
    """Over rotations, through large ones, and in pieces that end anywhere; then a changed bit, found in its turn."""
    messages = (
        [bytes(number % 11) for number in range(505)]
        + [bytes(3000)] * 4
        + [bytes(5000), b"last", bytes(TOGETHER_BYTES), b""]
    )
    sealer, opener = Sealer(KEY, CK), Opener(KEY, CK)
    stream = sealer.seal_all(messages)
    found: list[bytes] = []
    for at in range(0, len(stream), piece):
        opener.feed(stream[at : at + piece])
        while taken := opener.next_messages(most):
            assert len(taken) <= most
            assert len(taken) == 1 or sum(map(len, taken)) < TOGETHER_BYTES + 4096
            found += reversed(taken)
    assert found == messages
    assert opener.buffered == 0


@pytest.mark.parametrize("at", [0, 20])  # of its header, of its body
def test_a_packet_that_fails_does_so_once_those_before_it_are_taken(at: int) -> None:
    sealer, opener = Sealer(KEY, CK), Opener(KEY, CK)
    stream = bytearray(sealer.seal_all([b"one", b"two", b"three", b"four"]))
    stream[2 * 37 + at] ^= 1
    opener.feed(bytes(stream))
    assert opener.next_messages(10) == [b"two", b"one"]
    for _ in range(2):
        with pytest.raises(PacketFailed):
            opener.next_messages(10)


def derived(name: str) -> dict[str, Any]:
    return next(case for case in VECTORS["derived"] if name in case["name"])


def test_the_other_direction_and_the_last_messages_before_rotation() -> None:
    for case, key in ((derived("responder->initiator direction"), RK), (derived("last message before"), KEY)):
        sealer = Sealer(key, CK)
        for number in range(1002):
            packet = sealer.seal(b"hello")
            if str(number) in case["outputs"]:
                assert packet.hex() == case["outputs"][str(number)]


def test_full_duplex_rotations_are_independent() -> None:
    case = derived("full duplex")
    there, back = Sealer(KEY, CK), Sealer(RK, CK)
    sent = 0
    for number in range(1002):
        packet = there.seal(b"hello")
        assert packet.hex() == case["i2r"].get(str(number), packet.hex())
        if number % 3:
            packet = back.seal(b"world")
            assert packet.hex() == case["r2i"].get(str(sent), packet.hex())
            sent += 1
    assert sent == case["r2i_total"]


def test_empty_one_byte_and_largest_messages() -> None:
    for name in ("zero-length", "1-byte"):
        case = derived(name)
        message = bytes.fromhex(case["payload"])
        assert Sealer(KEY, CK).seal(message).hex() == case["output"]
        opener = Opener(KEY, CK)
        opener.feed(bytes.fromhex(case["output"]))
        assert opener.next_message() == message
    case = derived("maximum")
    message = bytes(range(256)) * 255 + bytes(255)
    packet = Sealer(KEY, CK).seal(message)
    assert len(packet) == case["wire_len"]
    assert hashlib.sha256(packet).hexdigest() == case["wire_sha256"]
    assert packet[:50].hex() == case["first_50"]
    assert packet[-16:].hex() == case["last_16"]
    opener = Opener(KEY, CK)
    for at in range(0, len(packet), 1000):
        assert opener.next_message() is None
        opener.feed(packet[at : at + 1000])
    assert opener.next_message() == message
    with pytest.raises(ValueError, match="65535"):
        Sealer(KEY, CK).seal(bytes(65536))


def test_corrupted_packets_fail_and_go_on_failing() -> None:
    for bad in derived("corrupted")["bad"]:
        opener = Opener(KEY, CK)
        opener.feed(bytes.fromhex(bad["wire"]))
        if "2nd" in bad["fails"]:
            assert opener.next_message() == b"hello"
        for _ in range(3):
            with pytest.raises(PacketFailed, match="length" if "length" in bad["fails"] else "body"):
                opener.next_message()


def pair() -> tuple[Handshake, Handshake, bytes, bytes, bytes]:
    """Both ends after a handshake, and its three acts."""
    responder = Handshake(SecretKey(b"\x01" * 32), SecretKey(b"\x03" * 32), None)
    initiator = Handshake(SecretKey(b"\x02" * 32), SecretKey(b"\x04" * 32), SecretKey(b"\x01" * 32).public_key)
    one = initiator.act_one()
    two, _ = responder.receive(one)
    three, _ = initiator.receive(two)
    responder.receive(three)
    return initiator, responder, one, two, three


def test_both_ends_agree_and_what_follows_the_last_act_is_given_back() -> None:
    initiator, responder, one, two, three = pair()
    assert responder.their_node_id == SecretKey(b"\x02" * 32).public_key
    assert initiator.sealer is not None
    assert responder.opener is not None
    responder.opener.feed(initiator.sealer.seal(b"there"))
    assert responder.opener.next_message() == b"there"
    again = Handshake(SecretKey(b"\x01" * 32), SecretKey(b"\x03" * 32), None)
    assert again.receive(one)[0] == two
    assert again.receive(three + b"rest") == (b"", b"rest")
    with pytest.raises(RuntimeError):
        again.act_one()
    with pytest.raises(ValueError, match="node id"):
        Handshake(SecretKey(b"\x01" * 32), SecretKey(b"\x03" * 32), bytes(33))


def test_against_a_noise_of_another_hand() -> None:
    """The client of the TCP tests agrees byte for byte."""
    _, _, one, two, three = pair()
    responder = SecretKey(b"\x01" * 32).public_key
    other = independent.Noise(b"\x02" * 32, b"\x04" * 32, responder)
    assert other.send_point(responder) == one
    other.receive_point(two, b"\x04" * 32)
    assert other.act_three() == three


@given(st.sampled_from([1, 2, 3]), st.integers(0, 65), st.integers(1, 255))
def test_any_change_in_an_act_is_refused(act: int, at: int, flip: int) -> None:
    _, _, one, two, three = pair()
    acts = {1: one, 2: two, 3: three}
    changed = bytearray(acts[act])
    changed[at % len(changed)] ^= flip
    responder = Handshake(SecretKey(b"\x01" * 32), SecretKey(b"\x03" * 32), None)
    initiator = Handshake(SecretKey(b"\x02" * 32), SecretKey(b"\x04" * 32), SecretKey(b"\x01" * 32).public_key)
    initiator.act_one()
    with pytest.raises(HandshakeFailed) as caught:
        if act == 2:
            initiator.receive(bytes(changed))
        else:
            if act == 3:
                responder.receive(one)
            responder.receive(bytes(changed))
    assert caught.value.act == act


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20), st.lists(st.integers(1, 200), min_size=1))
def test_any_fragmentation_gives_the_same_messages(messages: list[bytes], sizes: list[int]) -> None:
    sealer, opener = Sealer(KEY, CK), Opener(KEY, CK)
    stream = b"".join(sealer.seal(message) for message in messages)
    got: list[bytes] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        turn += 1
        opener.feed(stream[at : at + size])
        at += size
        while turn % 2 and (message := opener.next_message()) is not None:
            got.append(message)
    while (message := opener.next_message()) is not None:
        got.append(message)
    assert got == messages
    assert opener.buffered == 0


@given(st.binary(max_size=100), st.integers(0, 10_000), st.integers(1, 255))
def test_any_change_in_a_packet_is_refused(message: bytes, at: int, flip: int) -> None:
    packet = bytearray(Sealer(KEY, CK).seal(message))
    packet[at % len(packet)] ^= flip
    opener = Opener(KEY, CK)
    opener.feed(bytes(packet))
    with pytest.raises(PacketFailed):
        opener.next_message()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_packet_in_small_pieces_costs_no_more_than_its_bytes(size: int) -> None:
    packet = Sealer(KEY, CK).seal(bytes(65535))
    opener = Opener(KEY, CK)
    tracemalloc.start()
    try:
        for at in range(0, len(packet) - 1, size):
            # An object of its own for each piece, as a socket gives it.
            opener.feed(bytes(bytearray(packet[at : min(at + size, len(packet) - 1)])))
            assert opener.next_message() is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * len(packet)
    opener.feed(packet[-1:])
    assert opener.next_message() == bytes(65535)


def test_ephemeral_keys_follow_from_seed_and_counter() -> None:
    seed = b"\x05" * 32
    keys = EphemeralKeys(seed)
    for counter in range(3):
        secret = hashlib.sha256(seed + counter.to_bytes(8, "little")).digest()
        assert keys.next().public_key == SecretKey(secret).public_key


def test_no_secret_shows() -> None:
    initiator, responder, *_ = pair()
    secrets = [b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32]
    assert initiator.sealer is not None
    secrets += keys_of(initiator.sealer)
    shown = "".join(
        repr(one) + str(one)
        for one in (
            initiator,
            responder,
            initiator.sealer,
            initiator.opener,
            SecretKey(b"\x01" * 32),
            EphemeralKeys(b"\x01" * 32),
        )
    )
    with pytest.raises(ValueError, match="not a secret key") as caught:
        SecretKey(b"\xff" * 32)
    shown += repr(caught.value) + repr(caught.value.__cause__)
    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret) not in shown
    assert "complete" in repr(initiator)
    assert "act 1" in repr(Handshake(SecretKey(b"\x01" * 32), SecretKey(b"\x03" * 32), None))
