"""The ``triolight`` command: what one does with this library from a terminal.

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


def main() -> None:
    """The command. Ctrl-C while it is loaded is the matter of ``triolight/__main__.py``."""
    cli(prog_name="triolight")
