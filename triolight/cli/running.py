"""How a program of Trio runs as a command: a signal cancels it, so that it says its goodbyes, and is its exit code."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import click
import trio

from triolight.cli.exits import Exit, alone

T = TypeVar("T")

EXITS: Final[Mapping[int, Exit]] = {
    signal.SIGINT: Exit.INTERRUPTED,
    signal.SIGTERM: Exit.TERMINATED,
    signal.SIGHUP: Exit.HUNG_UP,
}


def run(program: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """`trio.run`, but an exception that is alone in its group leaves as itself: a port that is taken, for one.

    Ctrl-C, SIGTERM and SIGHUP cancel the program, so that it says its goodbyes, and end the command with their exit
    codes. KeyboardInterrupt, which would come anywhere, also where Trio has begun a dial of its own, is never raised.
    """
    try:
        return trio.run(_until_signal, program, arguments)
    except BaseExceptionGroup as group:
        raise alone(group) from None


async def _until_signal(program: Callable[..., Awaitable[T]], arguments: tuple[Any, ...]) -> T:
    # Who has one ignored, as nohup does, wants us to live on.
    heeded = [number for number in EXITS if signal.getsignal(number) is not signal.SIG_IGN]
    first: list[int] = []
    scope = trio.CancelScope()

    async def mind() -> None:
        # Later ones too: the goodbyes have their own deadline, and nothing ends them in the middle.
        async for number in signals:
            first.append(number)
            scope.cancel(reason="a signal")

    with trio.open_signal_receiver(*heeded) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mind)
            with scope:
                result = await program(*arguments)
                nursery.cancel_scope.cancel(reason="the program has ended")
                return result
            nursery.cancel_scope.cancel(reason="a signal")
    raise click.exceptions.Exit(EXITS[first[0]])
