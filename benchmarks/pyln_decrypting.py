"""pyln-proto decrypting packets, and nothing else: run by the Python of interop/pyln, so it may not import triolight.

On standard input it finds packets that were sealed under keys of zero bytes; says how many microseconds of CPU each
took it. No socket is read: what it is compared with has one to read.
"""

import json
import sys
import time

from pyln.proto.primitives import PrivateKey  # type: ignore[import-not-found]
from pyln.proto.wire import LightningConnection  # type: ignore[import-not-found]


class Packets:
    """What a LightningConnection takes for its socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def recv(self, count: int) -> bytes:
        at = self._at
        self._at = at + count
        return self._data[at : at + count]

    @property
    def more(self) -> bool:
        return self._at < len(self._data)


def main() -> None:
    packets = Packets(sys.stdin.buffer.read())
    key = PrivateKey(b"\x01" * 32)
    connection = LightningConnection(packets, key.public_key(), key, True)
    connection.rk = connection.rck = connection.sk = connection.sck = bytes(32)
    count = 0
    began = time.process_time()
    while packets.more:
        connection.read_message()
        count += 1
    print(json.dumps({"count": count, "microseconds": (time.process_time() - began) / count * 1e6}))


if __name__ == "__main__":
    main()
