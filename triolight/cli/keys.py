"""``triolight keygen`` and ``triolight node-id``. The only file that writes a secret: once, for its owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import click

from triolight import node_id
from triolight.cli.exits import Exit, cannot_use
from triolight.cli.group import command
from triolight.cli.node import new_secret, read_secret
from triolight.cli.options import FILE
from triolight.cli.output import say


@command("keygen", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("file", type=FILE)
def keygen(file: Path) -> None:
    """Write a new random node secret to FILE, and print its node id.

    FILE must not exist; it is nobody else's to read from the moment it does. It holds 64 hex digits.
    """
    if str(file) == "-":
        raise click.BadParameter("- is no file, and a secret is shown nowhere", param_hint="FILE")
    secret = new_secret()
    try:
        # O_EXCL: a file or a link that is there already is left as it is. The mode is given to open itself, so that
        # there is no moment in which the umask alone decides who may read the secret.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.BadParameter(f"{file} exists already, and is not overwritten", param_hint="FILE") from None
    except OSError as error:
        raise cannot_use(file, error, "FILE") from None
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(secret.hex().encode("ascii") + b"\n")
            opened.flush()
            # Its node id is about to be told to the world; the secret shall not be lost to a power cut then.
            os.fsync(descriptor)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise cannot_use(file, error, "FILE") from None
    say(node_id(secret).hex())


@command("node-id", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.option("--secret-file", type=FILE, metavar="FILE", required=True, help="The file that holds the node secret.")
def node_id_command(secret_file: Path) -> None:
    """Print the node id of a node secret."""
    say(node_id(read_secret(secret_file)).hex())
