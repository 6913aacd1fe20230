"""What the documents say that a peer costs, held against the worst that one can send. The node is another process."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.project import ROOT
from triolight.keys import SecretKey
from triolight.messages import Init, Ping, Warning
from triolight.messages.bolt1 import InitTlvs
from triolight.noise import Handshake, Opener, Sealer
from triolight.wire import TlvRecord

PEERS = 100
SILENT = 600
"""So many that a mebibyte, which is what Python takes from the system at once, is little for each."""
NODE = """
import secrets, sys, trio
from triolight import *
from triolight.policy import Policy
async def main():
    manager = PeerManager(
        MessageHandler(ChannelMessageHandler(), IgnoringMessageHandler()),
        bytes([7]) * 32, secrets.token_bytes(32), NullLogger(),
    )
    async with open_peer_nursery(manager) as peers:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        print(listener.socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
trio.run(main)
"""
NODE_KEY = SecretKey(bytes([7]) * 32)
PLAIN = Init(features=b"\x08\xa0\x00\x0a\x8a")
WORST = {
    "features": Init(features=b"\xaa" * 65_000),
    "one bit, the farthest": Init(features=b"\x80" + bytes(64_999)),
    "features in both fields": Init(globalfeatures=b"\xaa" * 32_000, features=b"\xaa" * 32_000),
    "unknown records": Init(tlvs=InitTlvs(unknown=tuple(TlvRecord(type_, b"") for type_ in range(253, 32_253, 2)))),
    "one unknown record": Init(tlvs=InitTlvs(unknown=(TlvRecord(7, bytes(64_000)),))),
    "networks": Init(tlvs=InitTlvs(networks=tuple(struct.pack(">I28x", one) for one in range(2_000)))),
    "an address": Init(tlvs=InitTlvs(remote_addr=b"\x09" + bytes(64_000))),
    "all of them": Init(
        globalfeatures=b"\xaa" * 8_192,
        features=b"\xaa" * 20_000,
        tlvs=InitTlvs(
            networks=tuple(struct.pack(">I28x", one) for one in range(500)),
            unknown=tuple(TlvRecord(type_, b"") for type_ in range(253, 8_253, 2)),
        ),
    ),
}


def bound(words: str) -> int:
    """The number of KiB in the sentence of docs/policy.md that these words end, in bytes."""
    (number,) = re.findall(rf"(\d+)\s+KiB\s+{words}", (ROOT / "docs" / "policy.md").read_text())
    return int(number) * 1024


class Client:
    """A peer with a blocking socket."""

    def __init__(self, connected: socket.socket, number: int) -> None:
        self.socket = connected
        self.socket.settimeout(60)
        ours = SecretKey(struct.pack(">I28x", number + 1))
        handshake = Handshake(ours, SecretKey(os.urandom(32)), NODE_KEY.public_key)
        self.socket.sendall(handshake.act_one())
        answer, _ = handshake.receive(self._exactly(50))
        self.socket.sendall(answer)
        assert handshake.sealer is not None
        assert handshake.opener is not None
        self.sealer: Sealer = handshake.sealer
        self.opener: Opener = handshake.opener

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return data

    def hear(self) -> bytes:
        while (message := self.opener.next_message()) is None:
            data = self.socket.recv(65_536)
            assert data, "the node has closed the connection"
            self.opener.feed(data)
        return message

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(map(self.sealer.seal, messages)))

    def join(self, init: Init) -> None:
        """Becomes a peer, and has said all there is when this returns."""
        self.hear()
        # Together in one chunk: what was read last must not be kept either.
        self.send(init.encode(), Warning(data=bytes(64_000)).encode(), Ping(num_pong_bytes=60_000).encode())
        while self.hear()[:2] != b"\x00\x13":
            pass


class Node:
    """The process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        self.port: Final = int(self.process.stdout.readline())

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    @property
    def memory(self) -> int:
        """Its RSS, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


@pytest.fixture
def running() -> Iterator[Node]:
    one = Node()
    yield one
    one.process.kill()
    one.process.communicate()


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to read memory from")


def cost_of_peers(node: Node, init: Init) -> float:
    with ExitStack() as stack:
        clients: list[Client] = []

        def join(count: int) -> None:
            for _ in range(count):
                clients.append(Client(stack.enter_context(node.dial()), len(clients)))
                clients[-1].join(init)

        join(5)  # what is made once
        before = node.memory
        join(PEERS)
        return (node.memory - before) / PEERS


@needs_proc
@pytest.mark.parametrize("kind", WORST)
def test_a_peer_costs_no_more_than_is_said_whatever_its_init(running: Node, kind: str) -> None:
    assert cost_of_peers(running, WORST[kind]) <= bound(r"a\s+peer,\s+whatever\s+it\s+sends")


@needs_proc
def test_a_usual_peer_costs_what_is_said(running: Node) -> None:
    assert cost_of_peers(running, PLAIN) <= bound(r"a\s+peer\s+that\s+is\s+idle")


@needs_proc
@pytest.mark.parametrize("speaks", [False, True])
def test_a_stranger_costs_no_more_than_is_said(running: Node, speaks: bool) -> None:
    """One that says nothing, and one whose Init never ends."""
    with ExitStack() as stack:

        def come(count: int) -> None:
            for number in range(count):
                connected = stack.enter_context(running.dial())
                if speaks:
                    client = Client(connected, number)
                    client.hear()
                    client.socket.sendall(client.sealer.seal(WORST["features"].encode())[:-1])

        come(5)
        Client(stack.enter_context(running.dial()), 999).join(PLAIN)
        before = running.memory
        count = PEERS if speaks else SILENT
        come(count)
        # Whoever comes after them is served after them.
        Client(stack.enter_context(running.dial()), 1000).join(PLAIN)
        words = r"a\s+stranger\s+whose\s+Init\s+never\s+ends" if speaks else r"a\s+stranger\s+that\s+is\s+silent"
        assert (running.memory - before) / count <= bound(words)
