"""The group of all commands, how a file joins it, and how each ends whose output nobody takes, or that gets Ctrl-C.

A command is a file with ``@command("NAME", ...)``, which names the exit codes that it can give, and a line in this
package's ``__init__``.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click

from triolight import __version__
from triolight.cli.exits import Exit, cannot_write, listed, listed_for_all
from triolight.cli.output import is_unwritten, open_streams, progress, write_nowhere
from triolight.cli.running import alone, leaves

WHY_NO_NODE_KEY: Final = """Dialling and listening use a key that is made for this one run and forgotten, unless
--secret-file names another. Never name the key of a node that has channels: to its peers this would be that node. They
drop their connection with it for this one, and then wait for answers about its channels which only the node itself can
give; what they take for an answer may cost it a channel. A secret is never given on the command line, where every user
of the machine can read it."""


class Commands(click.Group):
    """A group whose commands end by Ctrl-C, and by output that nobody takes, as other Unix commands do."""

    def main(self, *arguments: Any, **options: Any) -> NoReturn:
        """As click's, for what is printed before there is a command, and of errors, too. SystemExit, whatever comes."""
        open_streams()
        heard = sys.stderr is not None
        try:
            with _ending():
                code = super().main(*arguments, **options | {"standalone_mode": False}) or Exit.OK
        except click.exceptions.Exit as ended:
            code = ended.exit_code
        except click.ClickException as problem:
            code = problem.exit_code
            words = io.StringIO()
            problem.show(words)
            progress(words.getvalue().rstrip("\n"))
        if code == Exit.OK and heard and sys.stderr is None:
            code = Exit.USAGE  # some of its words could not be written
        sys.exit(code)

    # Each of click's two steps, before click itself makes "Aborted!" of Ctrl-C, and 1 of a pipe that nobody reads.

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _ending():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _ending():
            return super().invoke(ctx)


@contextmanager
def _ending() -> Generator[None]:
    """Whatever ends every command alike, as click's own exceptions."""
    code = Exit.OK
    problem: click.ClickException | None = None
    # By then the goodbyes are out: all leave through the block of `open_peer_nursery`. Alone, or in a group with
    # whatever else went wrong: a second Ctrl-C, for one.
    try:
        yield
        sys.stdout.flush()
        return
    except* click.ClickException as group:
        problem = next(one for one in leaves(group) if isinstance(one, click.ClickException))
    except* (KeyboardInterrupt, click.Abort):
        code = Exit.INTERRUPTED
    except* BrokenPipeError:
        code = Exit.BROKEN_PIPE
        write_nowhere(sys.stdout, sys.stderr)
    except* OSError as group:
        error = alone(group)
        if not isinstance(error, OSError) or not is_unwritten(error):
            raise
        write_nowhere(sys.stdout)
        if error.errno == errno.EIO:
            code = Exit.HUNG_UP  # what a terminal says that is gone
            write_nowhere(sys.stderr)
        else:
            problem = cannot_write(error)
    raise problem or click.exceptions.Exit(code)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"Lightning peers from the terminal.\n\n{WHY_NO_NODE_KEY}",
    epilog=listed_for_all(),
)
@click.version_option(__version__)
def cli() -> None:
    pass


@cli.group()
def graph() -> None:
    """The graph of the network: kept in a file, looked at, and exchanged with other programs."""


_GROUPS: Final = {"": cli, "graph": graph}


def command(name: str, *gives: Exit) -> Callable[[Callable[..., Any]], click.Command]:
    """Puts a command into the group; of two words, into the group inside it that the first one names. `gives` is what
    its help lists: all that it can end with, and nothing else."""
    group, _, own = name.rpartition(" ")
    return _GROUPS[group].command(own, epilog=listed(name, gives))
