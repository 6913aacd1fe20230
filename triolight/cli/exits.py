"""Every exit code of the command: its number, its words, and what the end of a connection becomes. Ends nothing itself.

Outside programs know the numbers: one may come, none may change. Each command's help lists those that it can give, in
the words of `MEANINGS`. What an end becomes follows from its kind in the table of reasons, which has every code.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import click

from triolight.reasons import ABOUT, Kind
from triolight.text import system_words

if TYPE_CHECKING:
    from triolight import DisconnectReason, NodeAddress


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    CONNECT = 3
    HANDSHAKE = 4
    PROTOCOL = 5
    TIMEOUT = 6
    HUNG_UP = 129
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


class Meaning(NamedTuple):
    """Of one code, in words."""

    words: str
    own: Mapping[str, str] = {}
    """What a command of this name means by it, where that is something else."""
    alone: str = ""
    """Instead of `words`, where there are no peers."""


MEANINGS: Final[Mapping[Exit, Meaning]] = {
    Exit.OK: Meaning("all went well"),
    Exit.FAILED: Meaning(
        "a bug of ours",
        {
            "demo": "something that it checks did not happen",
            "replay": "the manager does something else than the tape says",
            "graph show": "there is no such channel or node",
            "offer fetch-invoice": "the other side says no",
            **dict.fromkeys(("lsps protocols", "lsps call", "lsps info"), "the other side says no"),
            "storage put": "none of the nodes that were reached stores it",
        },
    ),
    Exit.USAGE: Meaning("usage: the command line, or a file that it names; the output cannot be written"),
    Exit.CONNECT: Meaning("connect: no address, no TCP, no port to listen on, connection lost"),
    Exit.HANDSHAKE: Meaning("handshake: it failed; this is not the node that was dialled"),
    Exit.PROTOCOL: Meaning(
        "protocol: Init was refused, a rule was broken, or the peer hung up",
        {"decode": "not all are messages", "encode": "not all are messages"},
    ),
    Exit.TIMEOUT: Meaning("timeout: nothing came for too long"),
    Exit.HUNG_UP: Meaning("SIGHUP, or the terminal is gone; the peers were told goodbye", alone="the terminal is gone"),
    Exit.INTERRUPTED: Meaning("Ctrl-C; the peers were told goodbye", alone="Ctrl-C"),
    Exit.BROKEN_PIPE: Meaning("nobody reads the output any more"),
    Exit.TERMINATED: Meaning("SIGTERM; the peers were told goodbye"),
}

ENDS: Final[Mapping[Kind, Exit]] = {
    Kind.UNREACHED: Exit.CONNECT,
    Kind.UNPROVEN: Exit.HANDSHAKE,
    Kind.SILENT: Exit.TIMEOUT,
    Kind.ENDED: Exit.PROTOCOL,
}
"""How a connection ended, for the process that had it."""


def exit_of(reason: DisconnectReason) -> Exit:
    """What the process says about a connection's end."""
    return ENDS[ABOUT[reason.code].kind]


def listed(command: str, gives: tuple[Exit, ...]) -> str:
    """For the end of a command's help: what it can give."""
    # Who minds SIGTERM has peers to say goodbye to.
    peers = Exit.TERMINATED in gives
    return _lines({one: _meant_by(command, MEANINGS[one], peers) for one in gives})


def listed_for_all() -> str:
    """For the end of the whole program's help: every code, and who means something of its own by it."""
    return _lines({code: _meant_by_all(meaning) for code, meaning in MEANINGS.items()})


def _meant_by(command: str, meaning: Meaning, peers: bool) -> str:
    return meaning.own.get(command) or (meaning.words if peers else meaning.alone or meaning.words)


def _meant_by_all(meaning: Meaning) -> str:
    alike: dict[str, list[str]] = {}
    for command, words in meaning.own.items():
        alike.setdefault(words, []).append(command)
    return "; ".join([meaning.words, *(f"{', '.join(commands)}: {words}" for words, commands in alike.items())])


def _lines(words_of: Mapping[Exit, str]) -> str:
    rows = [f"{code.value:>5}  {words_of[code]}" for code in sorted(words_of)]
    # \b: click shall not fill these lines as it fills paragraphs.
    return "\n".join(["\b", "Exit codes:", *rows])


class NoNetworkError(click.ClickException):
    """No peer could be reached, or none can reach us."""

    exit_code = Exit.CONNECT


class CannotWriteError(click.ClickException):
    """The output, for a reason that is not its reader's."""

    exit_code = Exit.USAGE


class FailedError(click.ClickException):
    """What a command is there to find out was found not to be so."""

    exit_code = Exit.FAILED


@contextmanager
def or_cannot_listen(host: str, port: int) -> Generator[None]:
    """Around what opens a port: a host that is none, or a port that is taken, is said in one line."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise NoNetworkError(f"cannot listen on {host} port {port}: {system_words(error)}") from None


def cannot_reach(address: NodeAddress, error: OSError) -> NoNetworkError:
    return NoNetworkError(f"cannot reach {address}: {system_words(error)}")


def cannot_write(error: OSError, *, or_read: bool = False) -> CannotWriteError:
    return CannotWriteError(f"cannot {'read or ' if or_read else ''}write: {error.strerror}")


def cannot_use(file: Path, error: OSError, option: str) -> click.BadParameter:
    """A file that the command line names: it cannot be read, or cannot be made."""
    return click.BadParameter(f"{file}: {error.strerror}", param_hint=option)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in nested groups, each by itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(one)
    else:
        yield error


def alone(error: BaseException) -> BaseException:
    """The one exception in nested groups; of several, their group."""
    first, *others = leaves(error)
    return error if others else first
