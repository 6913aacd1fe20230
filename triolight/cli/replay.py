"""``triolight replay``: shows what a tape tells, message by message, and holds the manager to it. No peer in sight.

The only command that runs code of its user's: the module that `--messages` names, and that one alone.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click

from triolight.as_json import to_json
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import FILE_THAT_EXISTS, json_option
from triolight.cli.output import progress, say
from triolight.cli.tree import MESSAGES, tree
from triolight.errors import DecodeError
from triolight.messages import Message, Registry, UnknownMessage, opaque
from triolight.tape.replay import Happening, Replay, TapeError, TapeMismatch
from triolight.tape.tape import PRIVATE
from triolight.text import printable


@command("replay", Exit.OK, Exit.FAILED, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("file", type=FILE_THAT_EXISTS)
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Each message with its fields.")
@click.option(
    "--no-compare", is_flag=True, help="Go on where the manager now does something else than when the tape was made."
)
@click.option(
    "--messages",
    "ours",
    metavar="MODULE:REGISTRY",
    help="Your own messages, as the application that made the tape has them: a Registry in a module that Python can "
    "import from here, as `python -m` would.",
)
@click.pass_context
def replay(ctx: click.Context, file: Path, as_json: bool, verbose: bool, no_compare: bool, ours: str | None) -> None:
    """Play back a tape: what came, what went, what handlers wanted, who left and why.

    A tape is made by `listen --tape`, `ping --tape` or `open_peer_nursery(..., tape=Tape(FILE))`. What it holds is
    private, and so is what this prints.

    Exit code 1 if the PeerManager of this version does something else than the tape says, 2 if FILE is no tape.
    """
    known = MESSAGES if ours is None else _with_own(ours)
    try:
        header = Replay(file).header
        registry = _registry(header.get("messages", ()), known)
        our_node_id = printable(header["our_node_id"])
    except (TapeError, OSError) as error:
        progress(str(error))
        ctx.exit(Exit.USAGE)
    except (KeyError, TypeError, ValueError) as error:
        progress(f"{file}:1: {type(error).__name__}: {error}")
        ctx.exit(Exit.USAGE)
    progress(f"{PRIVATE[header['kind']]}\nour node id: {our_node_id}")
    tape = Replay(file, messages=registry, compare=not no_compare)
    begin: float | None = None
    try:
        for one in _happenings(tape):
            begin = one.at if begin is None else begin
            if as_json:
                say(_as_json(one, begin, registry))
            elif verbose or not (one.what == "call" and one.words.startswith("send_")):
                # What was sent shows where it goes out.
                say(_line(one, begin, registry, verbose))
    except TapeMismatch as error:
        progress(f"different: {error}")
        ctx.exit(Exit.FAILED)
    except (TapeError, _UnreadableError) as error:
        progress(str(error))
        ctx.exit(Exit.USAGE)
    same = "not compared" if no_compare else "all of it as on the tape"
    progress(f"{tape.calls} calls of the manager played back, {same}")


class _UnreadableError(Exception):
    """An OSError of the tape. One of the output is somebody else's: the command group's."""


def _happenings(tape: Replay) -> Iterator[Happening]:
    try:
        yield from tape
    except OSError as error:
        raise _UnreadableError(str(error)) from error


def _registry(types: Any, known: Registry) -> Registry:
    """Messages that the tape's manager knew and nobody here does are shown as they are."""
    return known | opaque(type_ for type_ in types if known.get(type_) is None)


def _with_own(words: str) -> Registry:
    """What we know, and the user's own messages, which come first where both have a type or a name."""
    own = _imported(words)
    names = {cls.name for cls in own}
    return own | [cls for cls in MESSAGES if cls.type not in own and cls.name not in names]


def _imported(words: str) -> Registry:
    """A Registry by ``MODULE:ATTRIBUTE``. Raises BadParameter that says what is wrong."""
    module, colon, path = words.partition(":")
    if not (module and colon and path):
        raise _wrong(f"{printable(words)!r} is not MODULE:REGISTRY, as my_node.messages:REGISTRY")
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # a script's path begins where the script is
    try:
        found: Any = importlib.import_module(module)
    except BaseException as error:
        if not isinstance(error, Exception | SystemExit):
            raise
        # Whatever it does as it is imported.
        why = printable(f"{type(error).__name__}: {error}")
        raise _wrong(f"the module {printable(module)!r} cannot be imported: {why}") from None
    try:
        for name in path.split("."):
            found = getattr(found, name)
    except AttributeError:
        raise _wrong(f"the module {printable(module)!r} has no {printable(path)!r}") from None
    if not isinstance(found, Registry):
        raise _wrong(f"{printable(words)!r} is no Registry of messages: {type(cast('object', found)).__name__}")
    return found


def _wrong(words: str) -> click.BadParameter:
    return click.BadParameter(words, param_hint="--messages")


def _decoded(data: bytes, registry: Registry) -> Message | UnknownMessage | DecodeError:
    try:
        return registry.decode(data)
    except DecodeError as error:
        return error


def _line(one: Happening, begin: float, registry: Registry, verbose: bool) -> str:
    who = "" if one.connection is None else f"#{one.connection} "
    when = f"{one.at - begin:12.6f}  {who}"
    match one.what:
        case "dialled" | "accepted":
            node_id = one.node_id.hex() if one.node_id else "a stranger"
            return f"{when}{one.what} {node_id} {_one_line(one.words)}".rstrip()
        case "handshake" | "connected":
            return f"{when}{one.what} {one.node_id.hex() if one.node_id else ''}"
        case "received" | "sent":
            sign = "<" if one.what == "received" else ">"
            found = _decoded(one.message, registry)
            if isinstance(found, DecodeError):
                return f"{when}{sign} cannot be read: {found}"
            if verbose:
                return f"{when}{sign} {tree(found, len(one.message))}"
            return f"{when}{sign} {found.name}, {len(one.message)} bytes"
        case _:
            return f"{when}{one.what}: {_one_line(one.words)}"


def _one_line(words: str) -> str:
    """Reasons are printable already; whatever else a tape holds may be anybody's."""
    return printable(words, escaped=True)


def _as_json(one: Happening, begin: float, registry: Registry) -> str:
    told: dict[str, Any] = {"at": one.at - begin, "event": one.what}
    if one.connection is not None:
        told["connection"] = one.connection
    if one.node_id is not None:
        told["node_id"] = one.node_id.hex()
    if one.words:
        told["words"] = one.words
    if one.message:
        told["hex"] = one.message.hex()
        found = _decoded(one.message, registry)
        told |= {"problem": str(found)} if isinstance(found, DecodeError) else {"message": to_json(found)}
    return json.dumps(told)
