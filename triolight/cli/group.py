"""The group of all commands, how a file joins it, and how each ends whose output nobody takes, or that gets Ctrl-C.

A command is ``@command("NAME", ...)`` in a file, which names the exit codes that it can give, and a line of `COMMANDS`.
Only the file of a command that is called is loaded: to complete a name, or to say a version, none is.
"""

from __future__ import annotations

import errno
import importlib
import io
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from triolight import __version__
from triolight.cli.exits import Exit, alone, cannot_write, leaves, listed, listed_for_all
from triolight.cli.output import is_unwritten, open_streams, progress, write_nowhere

WHY_NO_NODE_KEY: Final = """Dialling and listening use a key that is made for this one run and forgotten, unless
--secret-file names another. Never name the key of a node that has channels: to its peers this would be that node. They
drop their connection with it for this one, and then wait for answers about its channels which only the node itself can
give; what they take for an answer may cost it a channel. A secret is never given on the command line, where every user
of the machine can read it."""


COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "check": ("check", "Which rules of the BOLTs a node keeps: a table of what it does."),
    "crawl": ("crawl", "Walk the network from nodes, and note in RECORD who is there: one line a node."),
    "decode": (
        "messages",
        "Show the messages in FILE, or in standard input: decrypted ones, the two type bytes first.",
    ),
    "demo": ("demo", "Show three peers at work, over real TCP within this machine."),
    "encode": (
        "messages",
        "Write the messages that FILE, or standard input, has as JSON, one object a line, as `decode --json` prints "
        "them.",
    ),
    "fleet show": ("fleet", "Show a fleet: its back, its fronts, how far behind each is, and how many nodes it has."),
    "front": ("front", "Be a front of a fleet: take its peers, and have its back decide, until Ctrl-C."),
    "graph export": (
        "graph_files",
        "Write GRAPH, which is any file that `stats` takes, to FILE or to standard output, in another format.",
    ),
    "graph import": ("graph_files", "Take what is signed in FILE into GRAPH, which is made if it is missing."),
    "graph plot": (
        "graph",
        "Draw GRAPH, which is any file that `stats` takes, into DIR: PNG, SVG, and a page with all of them.",
    ),
    "graph serve": (
        "graph_serve",
        "Serve GRAPH: a node that answers whoever asks for gossip, and passes on what is new, until Ctrl-C.",
    ),
    "graph show": ("graph", "Show one channel or node of GRAPH, which is any file that `stats` takes."),
    "graph stats": ("graph", "Show GRAPH in numbers: channels, updates, nodes, ages, addresses, degrees."),
    "graph sync": (
        "graph_sync",
        "Fetch the whole graph of the network from nodes into GRAPH, every signature verified.",
    ),
    "invoice decode": (
        "offers",
        "Show what an invoice of BOLT 12 says, given as hex digits or as ``lni1…``: who wants how much for what, and "
        "until when it may be paid.",
    ),
    "keygen": ("keys", "Write a new random node secret to FILE, and print its node id."),
    "listen": ("listen", "Accept peers, answer their pings, and tell who comes and goes and why, until Ctrl-C."),
    "lsps call": (
        "lsps",
        "Call a method of a liquidity provider, as lsps2.get_info, and show its result: JSON, on one line.",
    ),
    "lsps info": (
        "lsps",
        "Ask a liquidity provider what it sells: channels to order, LSPS1, and what opening one costs, LSPS2.",
    ),
    "lsps protocols": ("lsps", "Ask a liquidity provider which LSPS protocols it has."),
    "node-id": ("keys", "Print the node id of a node secret."),
    "offer decode": (
        "offers",
        "Show what an offer says, ``lno1…``: who sells what for how much, and how to ask for an invoice.",
    ),
    "offer fetch-invoice": (
        "fetch_invoice",
        "Ask whoever made an offer, ``lno1…``, for an invoice, and show it once it is verified.",
    ),
    "onion listen": (
        "onion",
        "Accept peers, pass on what is for others, and show the onion messages that are for us, until Ctrl-C.",
    ),
    "onion send": ("onion", "Send an onion message of one record to a node, and wait for its answer if that is asked."),
    "ping": ("ping", "Dial a node, and measure its Lightning pings."),
    "record export": ("record", "Write RECORD to DIR as tables: Parquet and CSV."),
    "record plot": (
        "record",
        "Draw RECORD into DIR: delays, rates, who is first; PNG, SVG, and a page with all of them.",
    ),
    "record start": ("record_start", "Record the gossip of nodes into RECORD: who said what when, until Ctrl-C."),
    "record stats": (
        "record",
        "Show RECORD in numbers: messages, sightings, who said them first, and what is missing.",
    ),
    "replay": ("replay", "Play back a tape: what came, what went, what handlers wanted, who left and why."),
    "storage get": (
        "storage",
        "Write to FILE the newest data that nodes give back and that the node secret opens.",
    ),
    "storage put": ("storage", "Give the content of FILE to nodes that store it, sealed so that they cannot read it."),
    "top": ("top", "A live table of peers: the nodes that are named, kept connected, and those that dial us."),
}
"""By name: the file, and the first sentence of the command's help."""


class Group(click.Group):
    """A group that loads the file of a command when it is called, and not to complete or to list its name."""

    words = ""
    """What stands before the names of its commands: "graph "."""

    def _own(self) -> dict[str, str]:
        """Its commands' names, and what each does."""
        begin = len(self.words)
        own = {name[begin:]: words for name, (_, words) in COMMANDS.items() if name.startswith(self.words)}
        inner = {name: group.get_short_help_str(100) for name, group in self.commands.items() if name not in own}
        return {name: words for name, words in own.items() if " " not in name} | inner

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._own())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(self.words + cmd_name)
        if found is not None:
            importlib.import_module(f"triolight.cli.{found[0]}")
        return super().get_command(ctx, cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, without a look at the commands themselves."""
        names = [(name, words) for name, words in self._own().items() if name.startswith(incomplete)]
        return [
            *(CompletionItem(name, help=words) for name, words in sorted(names)),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]


class Commands(Group):
    """The group of all. Its commands end by Ctrl-C, and by output that nobody takes, as other Unix commands do."""

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


class _Fleet(Group):
    words = "fleet "


@cli.group(cls=_Fleet)
def fleet() -> None:
    """A node on several machines: fronts, a back, and an engine between them."""


class _Graph(Group):
    words = "graph "


@cli.group(cls=_Graph)
def graph() -> None:
    """The graph of the network: kept in a file, looked at, and exchanged with other programs."""


class _Record(Group):
    words = "record "


@cli.group(cls=_Record)
def record() -> None:
    """Who said what when: gossip, recorded from nodes, and as tables."""


class _Offer(Group):
    words = "offer "


@cli.group(cls=_Offer)
def offer() -> None:
    """Offers of BOLT 12: what somebody sells, in a string that may stand anywhere."""


class _Onion(Group):
    words = "onion "


@cli.group(cls=_Onion)
def onion() -> None:
    """Onion messages: nobody on their way knows where they come from and where they go."""


class _Lsps(Group):
    words = "lsps "


@cli.group(cls=_Lsps)
def lsps() -> None:
    """Liquidity providers: who sells channels, and what they ask for it."""


class _Invoice(Group):
    words = "invoice "


@cli.group(cls=_Invoice)
def invoice() -> None:
    """Invoices of BOLT 12: what somebody wants to be paid."""


class _Storage(Group):
    words = "storage "


@cli.group(cls=_Storage)
def storage() -> None:
    """Peer storage: what other nodes keep for this one, and give back as it connects."""


_GROUPS: Final = {
    "": cli,
    "fleet": fleet,
    "graph": graph,
    "invoice": invoice,
    "lsps": lsps,
    "offer": offer,
    "onion": onion,
    "record": record,
    "storage": storage,
}


def command(name: str, *gives: Exit) -> Callable[[Callable[..., Any]], click.Command]:
    """Puts a command into the group; of two words, into the group inside it that the first one names. `gives` is what
    its help lists: all that it can end with, and nothing else."""
    group, _, own = name.rpartition(" ")
    return _GROUPS[group].command(own, epilog=listed(name, gives))
