"""How a program of Trio runs as a command: a signal cancels it, so that it says its goodbyes, and is its exit code."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, cast

import click
import trio

from triolight.cli.exits import Exit

T = TypeVar("T")


def run(program: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """`trio.run`, but an exception that is alone in its group leaves as itself: Ctrl-C, or a port that is taken.

    SIGTERM and SIGHUP cancel the program, so that it says its goodbyes, and end the command with their exit codes.
    """
    try:
        return trio.run(_until_signal, program, arguments)
    except BaseExceptionGroup as group:
        raise alone(group) from None


async def _until_signal(program: Callable[..., Awaitable[T]], arguments: tuple[Any, ...]) -> T:
    # Who has it ignored, as nohup does, wants us to live on.
    hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    first: list[int] = []
    scope = trio.CancelScope()

    async def mind() -> None:
        # Later ones too: the goodbyes have their own deadline, and nothing ends them in the middle.
        async for number in signals:
            first.append(number)
            scope.cancel(reason="a signal")

    with trio.open_signal_receiver(signal.SIGTERM, *hang_up) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mind)
            with scope:
                result = await program(*arguments)
                nursery.cancel_scope.cancel(reason="the program has ended")
                return result
            nursery.cancel_scope.cancel(reason="a signal")
    raise click.exceptions.Exit(Exit.TERMINATED if first[0] == signal.SIGTERM else Exit.HUNG_UP)


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
