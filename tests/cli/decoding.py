"""Commands that decode on given input, and messages, an offer and an invoice to give them. No test here."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from triolight.cli import cli

VECTORS = Path(__file__).parent.parent / "vectors"
HEX: list[str] = [case["bytes"] for case in json.loads((VECTORS / "message_vectors.json").read_text())["valid"]]
BOLT7: dict[str, Any] = json.loads((VECTORS / "bolt7_vectors.json").read_text())
UPDATE = next(one["bytes"] for one in BOLT7["real"]["channel_update"])
OFFER: str = json.loads((VECTORS / "bolt12" / "format-string-test.json").read_text())[0]["string"]
_GENERATED: dict[str, Any] = json.loads(lzma.decompress((VECTORS / "bolt12" / "generated.json.xz").read_bytes()))
INVOICE: str = next(one["invoice"] for one in _GENERATED["invoices"] if one["comment"] == "two paths")


def run(*arguments: str, given: bytes | str = b"") -> Result:
    return CliRunner().invoke(cli, [*arguments], input=given)
