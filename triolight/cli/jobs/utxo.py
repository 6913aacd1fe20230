"""The chain that a command asks about outputs: opened, and looked at before anything is begun."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import click
import trio

from triolight.cli.exits import NoNetworkError
from triolight.cli.options import Utxo
from triolight.cli.output import progress
from triolight.services import UtxoSource, open_utxo

LOOKED_EVERY: Final = 5.0
"""Seconds from one look at how the server is to the next."""
WELL_FOR: Final = 60.0
"""Without trouble, before that is said: one that can answer some questions and others not would fill a terminal."""


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_chain(utxo: Utxo | None, chain: bytes) -> AsyncGenerator[UtxoSource | None]:
    """As `open_utxo`, of a server that answers and has this chain. What is wrong ends the command, in words. None: no
    chain is asked."""
    if utxo is None:
        yield None
        return
    async with AsyncExitStack() as stack:
        try:
            source = await stack.enter_async_context(open_utxo(utxo.url, auth_file=utxo.auth, cafile=utxo.ca))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--utxo") from None
        except OSError as error:
            file = error.filename or utxo.ca or "the CA file of the URL"
            raise click.BadParameter(f"{file}: {error.strerror}", param_hint="--utxo") from None
        wrong = await source.check(chain)
        if wrong:
            raise NoNetworkError(f"{source.name}: {wrong}")
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(_tell_trouble, source, name="chain: trouble")
        yield source
        nursery.cancel_scope.cancel(reason="the command ends")


async def _tell_trouble(source: UtxoSource) -> None:
    """Whoever serves or follows for days hears that nothing is looked up any more, and that it is again."""
    told, last = False, 0.0
    while True:
        await trio.sleep(LOOKED_EVERY)
        if source.trouble:
            last = trio.current_time()
            if not told:
                told = True
                progress(f"{source.name}: {source.trouble}")
        elif told and trio.current_time() >= last + WELL_FOR:
            told = False
            progress(f"{source.name}: it answers again")
