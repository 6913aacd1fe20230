"""pyln-proto's connections (PyPI `pyln-proto`, Core Lightning's), in both roles, driven by JSON lines.

This file is a harness: it passes commands in and events out. The package is BOLT 8 and nothing more, so Init is sent
and pings are answered here. It talks to loopback only, and ends when its standard input ends.

Options: --secret HEX (its node secret), --port N (where it listens); random ones otherwise.
Commands (one JSON object a line, each answered by {"event": "reply", "id": ...}); those for a connection take its
number as "connection", the latest one otherwise:
  {"id": 1, "cmd": "dial", "node_id": "02..", "port": 9735}, whose reply has "error" if it failed
  {"id": 2, "cmd": "send", "message": "001200010000"}
  {"id": 3, "cmd": "send_many", "message": "a967", "count": 2000}: each with its number behind it, in 4 bytes
  {"id": 4, "cmd": "close"}      {"id": 5, "cmd": "open"}, whose reply has the numbers of open connections
Events: ready (node_id, port), connected (connection, node_id, inbound), refused (a dialler that failed the handshake),
message (connection, hex: all but pings), closed (connection, error), fatal.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
from queue import SimpleQueue
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from pyln.proto.wire import (  # type: ignore[import-not-found]  # of a venv of its own
    LightningServerSocket,
    PrivateKey,
    PublicKey,
    connect,
)

LOOPBACK = "127.0.0.1"
PING, PONG = 18, 19
INIT = bytes.fromhex("0010" + "0000" + "0007" + "08a0002a0aa222")
LARGEST_PONG = 65_531
# An end of the stream and a message that does not begin are ValueError here: its own, and those of its keys.
FAILURES = (OSError, ValueError, InvalidTag)

_output = threading.Lock()


def say(event: str, **fields: Any) -> None:
    line = json.dumps({"event": event, **fields})
    with _output:
        print(line, flush=True)


class Key(Protocol):
    def serializeCompressed(self) -> bytes: ...  # its name


class Connection(Protocol):
    """What is used of pyln's LightningConnection."""

    connection: Any
    remote_pubkey: Key
    _maybe_rotate_keys: Any

    def read_message(self) -> bytes: ...
    def send_message(self, m: bytes) -> None: ...


class WholeReads:
    """A socket whose `recv` gives as many bytes as it is asked for, unless the stream ends.

    pyln asks once for the 18 bytes of a header, and takes fewer for the end of the connection. TCP may cut anywhere.
    Acts it reads in the same way, but then its connection is not ours to mend yet.
    """

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner

    def recv(self, size: int) -> bytes:
        return self._inner.recv(size, socket.MSG_WAITALL)

    def send(self, data: bytes) -> int:
        return self._inner.send(data)


class Session:
    """A connection after its handshake. Its sockets block, so one thread reads and one writes: with a single one, two
    sides that both have much to say would wait for each other for ever."""

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self.closed = False
        self.outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._connection = connection
        self._socket: socket.socket = connection.connection
        connection.connection = WholeReads(self._socket)
        self._rotate = connection._maybe_rotate_keys
        self._rotating = threading.Lock()
        connection._maybe_rotate_keys = self._rotate_keys

    def start(self) -> None:
        self.outgoing.put(INIT)
        for task in (self._read, self._write):
            threading.Thread(target=task, daemon=True).start()

    def close(self) -> None:
        # Shutting down wakes whoever reads or writes in another thread; closing does not.
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was first

    def _rotate_keys(self) -> None:
        """pyln looks at both directions' counters after each message of either: without this, a reader and a writer
        can turn the same key over twice."""
        with self._rotating:
            self._rotate()

    def _read(self) -> None:
        try:
            while True:
                message = self._connection.read_message()
                if int.from_bytes(message[:2], "big") != PING:
                    say("message", connection=self.number, hex=message.hex())
                    continue
                size = int.from_bytes(message[2:4], "big")
                if size <= LARGEST_PONG:
                    self.outgoing.put(PONG.to_bytes(2, "big") + size.to_bytes(2, "big") + bytes(size))
        except FAILURES as error:
            self.closed = True
            self.outgoing.put(None)
            self.close()
            say("closed", connection=self.number, error=repr(error))

    def _write(self) -> None:
        while (message := self.outgoing.get()) is not None:
            try:
                self._connection.send_message(message)
            except OSError:
                break  # the reader says so
        self._socket.close()


class Node:
    def __init__(self, secret: bytes, port: int) -> None:
        self._key = PrivateKey(secret)
        self._sessions: list[Session] = []
        self._lock = threading.Lock()
        self._server = LightningServerSocket(self._key)
        self._server.bind((LOOPBACK, port))
        self._server.listen()

    def run(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()
        node_id = self._key.public_key().serializeCompressed().hex()
        say("ready", node_id=node_id, port=self._server.getsockname()[1])
        for line in sys.stdin:
            command = json.loads(line)
            say("reply", id=command["id"], **self._do(command))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()  # with the handshake
            except FAILURES as error:
                say("refused", error=repr(error))
                continue
            self._begin(connection, inbound=True)

    def _begin(self, connection: Connection, inbound: bool) -> int:
        with self._lock:
            session = Session(len(self._sessions), connection)
            self._sessions.append(session)
        node_id = connection.remote_pubkey.serializeCompressed().hex()
        say("connected", connection=session.number, node_id=node_id, inbound=inbound)
        session.start()
        return session.number

    def _do(self, command: dict[str, Any]) -> dict[str, Any]:
        kind = command["cmd"]
        if kind == "dial":
            try:
                node_id = PublicKey(bytes.fromhex(command["node_id"]))
                connection = connect(self._key, node_id, LOOPBACK, command["port"])
            except FAILURES as error:
                return {"error": repr(error)}
            return {"connection": self._begin(connection, inbound=False)}
        if kind == "open":
            return {"connections": [session.number for session in self._sessions if not session.closed]}
        session = self._sessions[command.get("connection", -1)]
        if kind == "send":
            session.outgoing.put(bytes.fromhex(command["message"]))
        elif kind == "send_many":
            for number in range(command["count"]):
                session.outgoing.put(bytes.fromhex(command["message"]) + number.to_bytes(4, "big"))
        elif kind == "close":
            session.close()
        else:
            raise ValueError(f"no such command: {kind}")
        return {}


def _fatal(arguments: threading.ExceptHookArgs) -> None:
    say("fatal", error=repr(arguments.exc_value))
    os._exit(1)


def main() -> None:
    threading.excepthook = _fatal
    parser = argparse.ArgumentParser()
    parser.add_argument("--secret", type=bytes.fromhex, default=os.urandom(32))
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    Node(options.secret, options.port).run()


if __name__ == "__main__":
    main()
