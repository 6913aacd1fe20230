"""The ``triolight`` command: what one does with this library from a terminal. A line a file of commands, no more.

Built on what users of the library have. A secret is read from a file and shown nowhere; without one, each run has a key
of its own. Every ending has its exit code.
"""

from __future__ import annotations

import sys

try:
    from triolight.cli.group import cli as cli
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    try:
        print('the triolight command needs click: pip install "triolight[cli]"', file=sys.stderr)
    except OSError:
        sys.stderr = None  # or the interpreter would try once more, and have an exit code of its own
    raise SystemExit(2) from None

from triolight.cli import check as check
from triolight.cli import demo as demo
from triolight.cli import graph as graph
from triolight.cli import graph_files as graph_files
from triolight.cli import keys as keys
from triolight.cli import listen as listen
from triolight.cli import messages as messages
from triolight.cli import ping as ping
from triolight.cli import replay as replay
from triolight.cli import top as top


def main() -> None:
    """The command. Ctrl-C while it is loaded is the matter of ``triolight/__main__.py``."""
    cli(prog_name="triolight")
