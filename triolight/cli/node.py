"""Who we are in one run: the node secret, from a file or made and forgotten, and the manager that has it.

A secret shows nowhere: not in an error, and never on a command line.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from triolight import (
    ChannelMessageHandler,
    Logger,
    MessageHandler,
    PeerManager,
    RoutingMessageHandler,
    node_id,
)
from triolight.cli.exits import cannot_use
from triolight.cli.output import logger_for, progress, start_log
from triolight.messages import BOLT, Registry
from triolight.text import without_mark

if TYPE_CHECKING:
    import trio

SECRET_FILE_BYTES: Final = 1024
"""More than this of a secret file is not read: 64 hex digits and some white space are all there is in one."""


def read_secret(path: Path) -> bytes:
    """The secret of a file that `keygen` made, or one like it: 64 hex digits."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(SECRET_FILE_BYTES)
    except OSError as error:
        raise cannot_use(path, error, "--secret-file") from None
    try:
        secret = bytes.fromhex(without_mark(content).decode("ascii"))
        node_id(secret)
    except ValueError:
        words = f"{path} does not hold a node secret: 64 hex digits, as `triolight keygen` writes them"
        raise click.BadParameter(words, param_hint="--secret-file") from None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        progress(f"warning: others can read {path}: chmod 600 it, or make a new one if they may have")
    return secret


def new_secret() -> bytes:
    while True:
        secret = secrets.token_bytes(32)
        # One in 2**127 is no secret key.
        with suppress(ValueError):
            node_id(secret)
            return secret


def manager_of(
    secret: bytes, logger: Logger, messages: Registry = BOLT, chan_handler: ChannelMessageHandler | None = None
) -> PeerManager:
    """A peer that talks to everybody and wants no channels."""
    handlers = MessageHandler(chan_handler or ChannelMessageHandler(), RoutingMessageHandler())
    return PeerManager(handlers, secret, secrets.token_bytes(32), logger, messages=messages)


def our_manager(secret_file: Path | None, verbose: int) -> PeerManager:
    """Of a command with `--secret-file` and `--verbose`."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    return manager_of(secret, logger_for(verbose))


def port_of(listener: trio.SocketListener) -> int:
    return int(listener.socket.getsockname()[1])
