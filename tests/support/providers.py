"""Liquidity providers: the vectors of LSPS, and payloads as clients and servers write them. No test here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "lsps" / "vectors.json").read_text())


def examples(lsps: int, *keys: str) -> list[dict[str, Any]]:
    """The blocks of a bLIP that have these keys."""
    return [one["json"] for one in VECTORS["examples"] if one["lsps"] == lsps and {*keys} <= one["json"].keys()]


def payload_of(row: dict[str, Any]) -> bytes:
    """Of a row of `server`."""
    if row["payload"] is not None:
        return bytes.fromhex(row["payload"])
    repeat = row["repeat"]
    text: str = repeat.get("prefix", "") + repeat["text"] * repeat["times"] + repeat.get("suffix", "")
    return text.encode()


def said(**fields: Any) -> bytes:
    """JSON-RPC 2.0 with these fields."""
    return json.dumps({"jsonrpc": "2.0", **fields}).encode()


PREFIX = b'{"jsonrpc":"2.0","id":"0123456789abcdef0123","method":"lsps0.list_protocols","params":'
BOMBS: dict[str, bytes] = {
    "5,000 objects in one another": PREFIX + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "5,000 lists in one another": PREFIX + b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}",
    "30,000 lists that are not closed": b"[" * 30_000,
    "quotes behind backslashes, not closed": b'{"a":"' + b'\\"' * 30_000,
    "not a number": PREFIX + b'{"a":NaN}}',
    "infinity": PREFIX + b'{"a":-Infinity}}',
    "a key twice": PREFIX + b'{"a":1,"a":2}}',
    "the method twice": PREFIX + b'{},"method":"lsps0.list_protocols"}',
    "half of a pair": PREFIX + b'{"a":"\\ud800"}}',
    "half of a pair as a key": PREFIX + b'{"\\uDC00":1}}',
    "half of a pair in UTF-8": PREFIX + b'{"a":"\xed\xa0\x80"}}',
    "a control character": PREFIX + b'{"a":"\n"}}',
    "two objects": PREFIX + b"{}}{}",
}
"""What is no message that is taken."""
