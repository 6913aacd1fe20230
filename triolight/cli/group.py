"""The group of all commands, how a file joins it, and how each ends whose output nobody takes, or that gets Ctrl-C.

A command is a file with ``@command("NAME", ...)``, which names the exit codes that it can give, and a line in this
package's ``__init__``.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from triolight.cli.exits import Exit, cannot_write, listed, listed_for_all
from triolight.cli.output import is_unwritten, write_nowhere
from triolight.cli.running import alone

WHY_NO_NODE_KEY: Final = """Dialling and listening use a key that is made for this one run and forgotten, unless
--secret-file names another. Never name the key of a node that has channels: to its peers this would be that node. They
drop their connection with it for this one, and then wait for answers about its channels which only the node itself can
give; what they take for an answer may cost it a channel. A secret is never given on the command line, where every user
of the machine can read it."""


class Commands(click.Group):
    """A group whose commands end by Ctrl-C, and by output that nobody takes, as other Unix commands do."""

    def invoke(self, ctx: click.Context) -> Any:
        code = Exit.OK
        problem: click.ClickException | None = None
        # By then the goodbyes are out: both leave through the block of `open_peer_nursery`. Alone, or in a group with
        # whatever else went wrong: a second Ctrl-C, for one.
        try:
            return super().invoke(ctx)
        except* KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except* BrokenPipeError:
            code = Exit.BROKEN_PIPE
            write_nowhere(sys.stdout, sys.stderr)
        except* OSError as group:
            error = alone(group)
            if not isinstance(error, OSError) or not is_unwritten(error):
                raise
            if error.errno == errno.EIO:
                code = Exit.HUNG_UP  # what a terminal says that is gone
                write_nowhere(sys.stdout, sys.stderr)
            else:
                problem = cannot_write(error)
                write_nowhere(sys.stdout)
        if problem is not None:
            raise problem
        ctx.exit(code)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"Lightning peers from the terminal.\n\n{WHY_NO_NODE_KEY}",
    epilog=listed_for_all(),
)
@click.version_option(package_name="triolight")
def cli() -> None:
    pass


def command(name: str, *gives: Exit) -> Callable[[Callable[..., Any]], click.Command]:
    """Puts a command into the group. `gives` is what its help lists: all that it can end with, and nothing else."""
    return cli.command(name, epilog=listed(name, gives))
