"""The chain that a command asks about outputs: opened, and looked at before anything is begun."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import click
import trio

from triolight.cli.exits import NoNetworkError
from triolight.cli.options import Utxo
from triolight.services import UtxoSource, open_utxo


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
        yield source
