"""Arguments and options that several commands have: declared here once, and what their words become. Opens nothing."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from triolight.address import NodeAddress, descriptor_of
from triolight.chains import chain_hash
from triolight.text import quoted, system_words

if TYPE_CHECKING:
    from triolight import Proxy, Tape

_C = TypeVar("_C", bound=Callable[..., Any])

FILE: Final = click.Path(dir_okay=False, path_type=Path)
FILE_OR_DASH: Final = click.Path(dir_okay=False, path_type=Path, allow_dash=True)
FILE_THAT_EXISTS: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
SPANS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PORT: Final = click.IntRange(0, 65535)
ENGINE_PASSWORD: Final = "TRIOLIGHT_ENGINE_PASSWORD"
"""The environment's name of an engine's password."""
INSECURE: Final = "triolight.insecure-engine"
"""Where a command's context has what `--insecure-engine` says."""


def _as_address(ctx: click.Context, param: click.Parameter, value: str) -> NodeAddress:
    try:
        address = NodeAddress.parse(value)
        descriptor_of(address.host, address.port)  # refuses an onion that is none
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    try:
        address.host.encode("idna")
    except UnicodeError:
        words = f"no name of DNS has a label that is empty or longer than 63 characters: {quoted(address.host, 280)}"
        raise click.BadParameter(words, ctx, param) from None
    return address


def _as_address_or_none(ctx: click.Context, param: click.Parameter, value: str | None) -> NodeAddress | None:
    return None if value is None else _as_address(ctx, param, value)


def _as_addresses(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[NodeAddress, ...]:
    return tuple(_as_address(ctx, param, one) for one in value)


def _as_proxy(ctx: click.Context, param: click.Parameter, value: str | None) -> Proxy | None:
    if value is None:
        return None
    from triolight.proxy import Proxy  # with Trio

    try:
        return Proxy.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _as_chain(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        return chain_hash(bytes.fromhex(value) if len(value) == 64 else value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def as_span(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Seconds, of 90s, 6h or 1d."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", value)
    if found is None:
        raise click.BadParameter(f"a span of time, as 1d or 6h, not {value!r}", ctx, param)
    return float(int(found[1]) * SPANS[found[2]])


def _as_metrics(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    if value is not None:
        need("prometheus_client", "metrics")
    return value


def _as_seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    # `inf` is fine: no end. Every comparison with `nan` is false, so that no range keeps it out.
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds", ctx, param)
    return value


node_argument = click.argument("address", callback=_as_address, metavar="NODE_ID@HOST:PORT")
allow_private_option = click.option(
    "--allow-private", is_flag=True, help="Dial announced addresses that are private, loopback's, or names."
)
from_graph_option = click.option(
    "--from-graph",
    "graph",
    type=FILE_THAT_EXISTS,
    metavar="GRAPH",
    help="Dial nodes of this graph too, which is any file that `graph stats` takes, where they have announced to be.",
)
nodes_argument = click.argument("nodes", nargs=-1, callback=_as_addresses, metavar="[NODE_ID@HOST:PORT]...")
connect_option = click.option(
    "--connect",
    "nodes",
    multiple=True,
    callback=_as_addresses,
    metavar="NODE_ID@HOST:PORT",
    help="Learn from this node.",
)
via_option = click.option(
    "--via",
    callback=_as_address_or_none,
    metavar="NODE_ID@HOST:PORT",
    help="Dial this node, and send what is for others through it.",
)
graph_option = click.option(
    "--graph",
    type=FILE_THAT_EXISTS,
    metavar="GRAPH",
    help="Find ways in this graph, as `graph sync` or Core Lightning keeps it: over nodes that take onion messages.",
)
host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen: 0.0.0.0 or :: for everywhere."
)
chain_option = click.option(
    "--chain", callback=_as_chain, metavar="CHAIN", help="A name, as bitcoin or regtest, or 64 hex digits."
)
proxy_option = click.option(
    "--proxy", callback=_as_proxy, metavar="socks5://HOST:PORT", help="Dial through this proxy, as Tor's."
)
secret_option = click.option(
    "--secret-file",
    type=FILE,
    metavar="FILE",
    help="Use the node secret in this file, not a throw-away one. Never a running node's: see triolight --help.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line on stdout. Times in seconds."
)
metrics_option = click.option(
    "--metrics",
    type=PORT,
    callback=_as_metrics,
    metavar="PORT",
    help="Serve http://127.0.0.1:PORT/metrics for Prometheus; 0 for any free port.",
)
pictures_option = click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Made if it is missing; pictures that are there are replaced.",
)
csv_option = click.option("--csv", "with_csv", is_flag=True, help="Write the numbers of each picture beside it.")
verbose_option = click.option(
    "-v", "--verbose", count=True, help="The library's log on stderr; -vv names each message too."
)


def seconds_option(name: str, default: float, help: str, *, least: float = 0, open: bool = False) -> Callable[[_C], _C]:
    """A deadline or an interval: `least` or more; if `open`, more."""
    return click.option(
        name,
        type=click.FloatRange(min=least, min_open=open),
        callback=_as_seconds,
        metavar="SECONDS",
        default=default,
        show_default=True,
        help=help,
    )


def tape_options(command: _C) -> _C:
    """`--tape` and `--tape-with-secrets`: see `as_tape`."""
    plain = click.option(
        "--tape", type=FILE, metavar="FILE", help="Record to a new FILE all that is said, in the clear: see replay."
    )
    full = click.option(
        "--tape-with-secrets",
        "secret_tape",
        type=FILE,
        metavar="FILE",
        help="Record the bytes of the wire, with the node secret and all keys for them.",
    )
    return plain(full(command))


def as_tape(tape: Path | None, secret_tape: Path | None) -> Tape | None:
    if tape is not None and secret_tape is not None:
        raise click.UsageError("--tape and --tape-with-secrets are two tapes")
    path = tape or secret_tape
    if path is None:
        return None
    if path.exists():
        raise click.BadParameter(f"{path}: there is such a file already", param_hint="--tape")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise click.BadParameter(f"{path}: cannot be made", param_hint="--tape")
    from triolight import Tape

    return Tape(path, kind="messages" if tape is not None else "with_secrets")


def utxo_options(command: _C) -> _C:
    """`--utxo`, `--utxo-auth` and `--utxo-ca`: see `as_utxo`."""
    url = click.option(
        "--utxo",
        metavar="URL",
        help="Look up channels' outputs at this server: bitcoind+http://HOST:PORT, bitcoind+rest://HOST:PORT, https "
        "for a btcd, esplora+https://HOST/PATH.",
    )
    auth = click.option(
        "--utxo-auth",
        type=FILE_THAT_EXISTS,
        metavar="FILE",
        help="One line user:password for it; bitcoind's .cookie is one.",
    )
    ca = click.option(
        "--utxo-ca", type=FILE_THAT_EXISTS, metavar="FILE", help="The certificate that it has made for itself, in PEM."
    )
    return url(auth(ca(command)))


class Utxo(NamedTuple):
    """The server that is asked about outputs, as the command line has it. No password."""

    url: str
    auth: Path | None
    ca: Path | None


def as_utxo(url: str | None, auth: Path | None, ca: Path | None) -> Utxo | None:
    if url is None:
        for option, file in (("--utxo-auth", auth), ("--utxo-ca", ca)):
            if file is not None:
                raise click.UsageError(f"{option} is of a server that --utxo names")
        return None
    # Whatever stands before an @ may be a password, also in what is no URL at all: it is not repeated.
    if "@" in url:
        words = (
            "user and password are never on a command line, which others can read: put them into a file, --utxo-auth"
        )
        raise click.BadParameter(words, param_hint="--utxo")
    need("httpx", "utxo")
    return Utxo(url, auth, ca)


def engine_options(
    command: _C, *, required: bool = True, words: str = "The engine between fronts and back", of: str = "Which fleet."
) -> _C:
    """`--engine`, `--fleet`, `--engine-password-file`, `--insecure-engine`: see `as_engine`."""
    url = click.option(
        "--engine",
        "url",
        required=required,
        metavar="URL",
        help=f"{words}, Valkey or Redis: rediss://USER@HOST/0, or redis:// and unix:// here.",
    )
    name = click.option("--fleet", "name", default="main", show_default=True, metavar="NAME", help=of)
    password = click.option(
        "--engine-password-file",
        "password_file",
        type=FILE_THAT_EXISTS,
        metavar="FILE",
        help=f"One line, the engine's password; else it is in {ENGINE_PASSWORD}.",
    )
    insecure = click.option(
        "--insecure-engine",
        is_flag=True,
        expose_value=False,
        callback=_note_insecure,
        help="Take an engine on another host without TLS, or without a user: something else keeps strangers out.",
    )
    return url(name(password(insecure(command))))


def _note_insecure(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[INSECURE] = value


class Engine(NamedTuple):
    """The engine of a fleet, as the command line has it."""

    url: str
    fleet: str
    password: str | None
    insecure: bool = False
    """Whether it may be on another host without TLS, or without a user."""


def as_engine(url: str, name: str, password_file: Path | None) -> Engine:
    need("coredis", "cluster")
    insecure = bool(click.get_current_context().meta.get(INSECURE))
    if ":" in url.partition("://")[2].rpartition("@")[0] or "password=" in url:
        words = f"a password is never on a command line: {ENGINE_PASSWORD}, or --engine-password-file"
        raise click.BadParameter(words, param_hint="--engine")
    if password_file is None:
        return Engine(url, name, os.environ.get(ENGINE_PASSWORD), insecure)
    try:
        return Engine(url, name, password_file.read_text().strip(), insecure)
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{password_file}: {error}", param_hint="--engine-password-file") from None


def need(module: str, extra: str) -> None:
    """What an option wants of another package, before anything is begun."""
    if importlib.util.find_spec(module) is None:
        raise click.UsageError(f"this needs the extra {extra!r}: pip install 'triolight[{extra}]'")


def read_lines(path: Path, option: str) -> list[tuple[int, str]]:
    """The lines of a file, or of standard input for ``-``, with their numbers; what is empty, or behind a ``#``, is
    left out. BadParameter for what cannot be read."""
    try:
        with click.open_file(str(path), encoding="utf-8") as file:
            lines = [line.partition("#")[0].strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        words = system_words(error) if isinstance(error, OSError) else "it is no text in UTF-8"
        raise click.BadParameter(f"{path}: {words}", param_hint=option) from None
    return [(number, line) for number, line in enumerate(lines, 1) if line]


def _as_listed_nodes(ctx: click.Context, param: click.Parameter, value: Path | None) -> tuple[NodeAddress, ...]:
    found: list[NodeAddress] = []
    for number, line in () if value is None else read_lines(value, "--peers"):
        try:
            found.append(_as_address(ctx, param, line))
        except click.BadParameter as error:
            raise click.BadParameter(f"{value}, line {number}: {error.message}", ctx, param) from None
    return tuple(found)


peers_option = click.option(
    "--peers",
    "listed",
    type=FILE_OR_DASH,
    callback=_as_listed_nodes,
    metavar="FILE|-",
    help="The nodes of this file too, or of standard input: one NODE_ID@HOST:PORT a line.",
)
