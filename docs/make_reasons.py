"""Makes docs/reasons.md from the table of reasons. Run it when that changes; a test holds the page to it.

python docs/make_reasons.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from triolight.reasons import ABOUT

PAGE: Final = Path(__file__).parent / "reasons.md"
OPENING: Final = """\
# Why a connection ended

A `DisconnectReason` says who (`by`: `us`, `peer` or `network`), why (`code`), and in words (`message`: printable ASCII,
at most 512 characters and a few of our own). The same one is in the log, in `PeerDisconnected`, from
`Peer.wait_closed()`, in `PeerClosed` and, for a dial, in `ConnectError`. *Hears* is what the peer gets before the end;
*phase* is how far the connection had come at the most, `peer` being after both Inits.

| code | phase | when | the peer hears | what to do |
|---|---|---|---|---|
"""


def page() -> str:
    rows = [
        f"| `{code.value}` | {about.phase} | {about.when} | {about.hears} | {about.do} |"
        for code, about in ABOUT.items()
    ]
    return OPENING + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name}: {len(ABOUT)} codes\n")
