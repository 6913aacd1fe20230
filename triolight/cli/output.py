"""Where words go: data to stdout, one thing a line; progress, warnings and the log to stderr. Nothing else knows how.

A line goes out at once: whoever reads a pipe shall not wait for a buffer to fill. Data that stdout does not take ends
the command. Words that stderr does not take end nothing: it is given up, ``sys.stderr`` is None from then on as where
it was closed from the beginning, and the data goes on. What goes to a terminal in words has no control character in it.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from triolight.address import readable
from triolight.logger import Level, Logger, NullLogger, StdlibLogger
from triolight.text import for_terminal

if TYPE_CHECKING:
    from triolight import DisconnectReason, Features
    from triolight.shell.anywhere import AnyPeer

_UNWRITTEN: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What the system says of output that it does not take, or that is closed; no socket of ours says it."""


def open_streams() -> None:
    """Gives what is closed of the three standard streams a number that no file or socket gets then, and a stdout that
    is closed an object whose writes fail, where Python has None and drops what is printed."""
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free: this one. Opened the wrong way round on purpose
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)


def progress(words: str) -> None:
    """Words on stderr, of one line or more."""
    redraw("\n".join(map(for_terminal, words.split("\n"))) + "\n")


def redraw(text: str) -> None:
    """As it is, to stderr, or to nobody."""
    try:
        click.echo(text, err=True, nl=False)
    except OSError:
        write_nowhere(sys.stderr)
        sys.stderr = None


def data(as_json: bool, words: str, event: str, **fields: Any) -> None:
    """A line on stdout: these words, or an object of these fields."""
    say(json.dumps({"event": event, **fields}) if as_json else words)


def say(words: str) -> None:
    """On stdout, at once; of words in lines, each of them. OSError if it is not taken."""
    click.echo("\n".join(map(for_terminal, words.split("\n"))))


def reason_fields(reason: DisconnectReason) -> dict[str, str]:
    return {"code": reason.code.value, "by": reason.by.value, "message": reason.message}


def features_fields(features: Features) -> dict[str, Any]:
    """The lowest bits in hex. `features_cut` is there, and true, only where a peer sets higher ones too."""
    lowest, cut = features.lowest()
    return {"features": lowest.hex()} | ({"features_cut": True} if cut else {})


def offered(features: Features) -> str:
    return features.shown() or "none"


def place(peer: AnyPeer) -> str:
    return "an unknown address" if peer.address is None else readable(peer.address)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def start_log(verbose: int) -> None:
    """Once, before the first logger is made: those ask for the level when they are."""
    if not verbose:
        return
    logging.addLevelName(Level.TRACE, "TRACE")
    logging.addLevelName(Level.GOSSIP, "GOSSIP")
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(relativeCreated)7.0f ms %(levelname)-6s %(name)s: %(message)s"))
    log = logging.getLogger("triolight")
    log.addHandler(handler)
    log.setLevel(Level.DEBUG if verbose == 1 else Level.GOSSIP)


class _ToStderr(logging.Handler):
    """The library's log."""

    def emit(self, record: logging.LogRecord) -> None:
        progress(self.format(record))


def logger_for(verbose: int, name: str = "triolight") -> Logger:
    return StdlibLogger(name) if verbose else NullLogger()


def is_unwritten(error: BaseException) -> bool:
    """Whether it is the output that is not taken, a full disk or a terminal that is gone, and no fault of a peer."""
    return isinstance(error, OSError) and error.errno in _UNWRITTEN


def write_nowhere(*streams: TextIO | None) -> None:
    """What waits in their buffers would be tried, and complained about, once more at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        if stream is not None:
            with suppress(io.UnsupportedOperation):  # one of a test's, in memory
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
