"""`decode` and `encode` on given input, and messages to give them. No test here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from triolight.cli import cli

VECTORS = Path(__file__).parent.parent / "vectors"
HEX: list[str] = [case["bytes"] for case in json.loads((VECTORS / "message_vectors.json").read_text())["valid"]]
BOLT7: dict[str, Any] = json.loads((VECTORS / "bolt7_vectors.json").read_text())
UPDATE = next(one["bytes"] for one in BOLT7["real"]["channel_update"])


def run(*arguments: str, given: bytes | str = b"") -> Result:
    return CliRunner().invoke(cli, [*arguments], input=given)
