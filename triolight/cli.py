"""The ``triolight`` command: what one does with this library from a terminal. Built on what users of it have, no more.

Data goes to stdout, one thing a line; progress, warnings and the log go to stderr. A secret is read from a file and
shown nowhere; without one, each run has a key of its own. Every ending has its exit code: `EXIT_CODES` is the help's
text of them, `exit_code` the rule. What this file asks of a peer is answered in `demo`, which believes nothing that it
has not checked.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import math
import os
import random
import secrets
import shutil
import signal
import stat
import statistics
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

try:
    import click
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    print('the triolight command needs click: pip install "triolight[cli]"', file=sys.stderr)
    raise SystemExit(2) from None

import trio

from triolight import (
    ChannelMessageHandler,
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    EventsLost,
    Features,
    Level,
    Logger,
    MessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    PeerManager,
    PeerNursery,
    Proxy,
    RoutingMessageHandler,
    Side,
    StdlibLogger,
    Tape,
    TriolightError,
    node_id,
    open_peer_nursery,
    wire,
)
from triolight.address import DEFAULT_PORT, descriptor_of, readable
from triolight.cli_messages import CannotWrite, decode, encode, write_nowhere
from triolight.cli_replay import replay
from triolight.connection import LARGEST_PONG
from triolight.messages import BOLT, Message, Ping, Registry, UnknownMessage, Warning, message
from triolight.testing.conformance import PATIENCE_SECONDS, Verdict, check_peer
from triolight.text import printable

CONNECT: Final = 3
HANDSHAKE: Final = 4
PROTOCOL: Final = 5
TIMEOUT: Final = 6
HUNG_UP: Final = 129
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
TERMINATED: Final = 143

EXIT_CODES: Final = """\b
Exit codes:
    0  all went well
    1  demo: something that it checks did not happen; else a bug of ours
    2  usage: the command line, or a file that it names; the output cannot be written
    3  connect: no address, no TCP, no port to listen on, connection lost
    4  handshake: it failed; this is not the node that was dialled
    5  protocol: Init was refused, a rule was broken, or the peer hung up; decode, encode: not all are messages
    6  timeout: nothing came for too long
  129  SIGHUP, or the terminal is gone; the peers were told goodbye
  130  Ctrl-C; the peers were told goodbye
  141  nobody reads the output any more
  143  SIGTERM; the peers were told goodbye
"""

WHY_NO_NODE_KEY: Final = """Dialling and listening use a key that is made for this one run and forgotten, unless
--secret-file names another. Never name the key of a node that has channels: to its peers this would be that node. They
drop their connection with it for this one, and then wait for answers about its channels which only the node itself can
give; what they take for an answer may cost it a channel. A secret is never given on the command line, where every user
of the machine can read it."""

CONNECT_SECONDS: Final = 15.0
SHORTEST_INTERVAL: Final = 0.05
"""Seconds between two tables of `top`: nobody reads faster, and each is drawn in one step."""
PHASE_SECONDS: Final = 0.25
"""How much later than `--timeout` a dial is given up from outside: the library's own deadline comes first then, and its
reason says in which phase it was."""
SAMPLES: Final = 100_000
"""Round trips kept for median and histogram. Beyond that they are a fair sample: a ping may run for weeks."""
HISTOGRAM_ROWS: Final = 8
HISTOGRAM_WIDTH: Final = 48
SECRET_FILE_BYTES: Final = 1024
"""More than this of a secret file is not read: 64 hex digits and some white space are all there is in one."""
DEMO_SECONDS: Final = 10.0
"""The demo takes well under one second; whatever takes this long does not work."""

T = TypeVar("T")


def exit_code(reason: DisconnectReason) -> int:
    """What the process says about a connection's end."""
    match reason.code:
        case (
            DisconnectCode.RESOLVE_FAILED
            | DisconnectCode.PROXY_FAILED
            | DisconnectCode.TCP_FAILED
            | DisconnectCode.ADDRESS_REFUSED
            | DisconnectCode.CONNECTION_LOST
        ):
            return CONNECT
        case (
            DisconnectCode.ACT_ONE_FAILED
            | DisconnectCode.ACT_TWO_FAILED
            | DisconnectCode.ACT_THREE_FAILED
            | DisconnectCode.CLOSED_IN_HANDSHAKE
        ):
            return HANDSHAKE
        case (
            DisconnectCode.HANDSHAKE_TIMEOUT
            | DisconnectCode.INIT_TIMEOUT
            | DisconnectCode.PING_TIMEOUT
            | DisconnectCode.WRITE_STALLED
        ):
            return TIMEOUT
        case _:
            return PROTOCOL


# ---------------------------------------------------------------------------------------------------------------------
# Command line


class _NoNetwork(click.ClickException):
    exit_code = CONNECT


_UNWRITTEN: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What the system says of output that it does not take; no socket says it."""


def _alone(error: BaseException) -> BaseException:
    """The one exception in nested groups; of several, their group."""
    alone = error
    while isinstance(alone, BaseExceptionGroup):
        inside: tuple[BaseException, ...] = cast("Any", alone).exceptions
        if len(inside) != 1:
            return error
        alone = inside[0]
    return alone


class _Commands(click.Group):
    """A group whose commands end by Ctrl-C, and by output that nobody takes, as other Unix commands do."""

    def invoke(self, ctx: click.Context) -> Any:
        code = 0
        problem = ""
        # By then the goodbyes are out: both leave through the block of `open_peer_nursery`. Alone, or in a group with
        # whatever else went wrong: a second Ctrl-C, for one.
        try:
            return super().invoke(ctx)
        except* KeyboardInterrupt:
            code = INTERRUPTED
        except* BrokenPipeError:
            code = BROKEN_PIPE
            write_nowhere(sys.stdout, sys.stderr)
        except* OSError as group:
            error = _alone(group)
            if not isinstance(error, OSError) or error.errno not in _UNWRITTEN:
                raise
            if error.errno == errno.EIO:
                code = HUNG_UP  # what a terminal says that is gone
                write_nowhere(sys.stdout, sys.stderr)
            else:
                problem = f"cannot write: {error.strerror}"
                write_nowhere(sys.stdout)
        if problem:
            raise CannotWrite(problem)
        ctx.exit(code)


def _as_address(ctx: click.Context, param: click.Parameter, value: str) -> NodeAddress:
    try:
        address = NodeAddress.parse(value)
        descriptor_of(address.host, address.port)  # refuses an onion that is none
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    try:
        address.host.encode("idna")
    except UnicodeError:
        words = (
            f"no name of DNS has a label that is empty or longer than 63 characters: {printable(address.host, 280)!r}"
        )
        raise click.BadParameter(words, ctx, param) from None
    return address


def _as_addresses(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[NodeAddress, ...]:
    return tuple(_as_address(ctx, param, one) for one in value)


def _as_proxy(ctx: click.Context, param: click.Parameter, value: str | None) -> Proxy | None:
    try:
        return None if value is None else Proxy.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _as_seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    # `inf` is fine: no end. Every comparison with `nan` is false, so that no range keeps it out.
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds", ctx, param)
    return value


_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_secret_option = click.option(
    "--secret-file",
    type=_FILE,
    metavar="FILE",
    help="Use the node secret in this file, not a throw-away one. Never a running node's: see triolight --help.",
)
_json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line on stdout. Times in seconds."
)
_verbose_option = click.option(
    "-v", "--verbose", count=True, help="The library's log on stderr; -vv names each message too."
)


_C = TypeVar("_C", bound=Callable[..., Any])


def _tape_options(command: _C) -> _C:
    """`--tape` and `--tape-with-secrets`."""
    plain = click.option(
        "--tape", type=_FILE, metavar="FILE", help="Record to a new FILE all that is said, in the clear: see replay."
    )
    full = click.option(
        "--tape-with-secrets",
        "secret_tape",
        type=_FILE,
        metavar="FILE",
        help="Record the bytes of the wire, with the node secret and all keys for them.",
    )
    return plain(full(command))


def _as_tape(tape: Path | None, secret_tape: Path | None) -> Tape | None:
    if tape is not None and secret_tape is not None:
        raise click.UsageError("--tape and --tape-with-secrets are two tapes")
    path = tape or secret_tape
    if path is None:
        return None
    if path.exists():
        raise click.BadParameter(f"{path}: there is such a file already", param_hint="--tape")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise click.BadParameter(f"{path}: cannot be made", param_hint="--tape")
    return Tape(path, kind="messages" if tape is not None else "with_secrets")


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"Lightning peers from the terminal.\n\n{WHY_NO_NODE_KEY}",
    epilog=EXIT_CODES,
)
@click.version_option(package_name="triolight")
def cli() -> None:
    pass


cli.add_command(decode)
cli.add_command(encode)
cli.add_command(replay)


def main() -> None:
    """The console script."""
    cli(prog_name="triolight")


# ---------------------------------------------------------------------------------------------------------------------
# What the commands share


def _progress(words: str) -> None:
    click.echo(words, err=True)


def _data(as_json: bool, words: str, event: str, **fields: Any) -> None:
    """A line on stdout, at once: whoever reads a pipe shall not wait for a buffer to fill."""
    click.echo(json.dumps({"event": event, **fields}) if as_json else words)


def _reason_fields(reason: DisconnectReason) -> dict[str, str]:
    return {"code": reason.code.value, "by": reason.by.value, "message": reason.message}


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def _offered(features: Features) -> str:
    return features.to_bytes().hex() or "none"


def _place(peer: Peer) -> str:
    return "an unknown address" if peer.address is None else readable(peer.address)


def _start_log(verbose: int) -> None:
    """Once, before the first logger is made: those ask for the level when they are."""
    if not verbose:
        return
    logging.addLevelName(Level.TRACE, "TRACE")
    logging.addLevelName(Level.GOSSIP, "GOSSIP")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(relativeCreated)7.0f ms %(levelname)-6s %(name)s: %(message)s"))
    log = logging.getLogger("triolight")
    log.addHandler(handler)
    log.setLevel(Level.DEBUG if verbose == 1 else Level.GOSSIP)


def _logger(verbose: int, name: str = "triolight") -> Logger:
    return StdlibLogger(name) if verbose else NullLogger()


def _read_secret(path: Path) -> bytes:
    """The secret of a file that `keygen` made, or one like it: 64 hex digits. Its content never shows in an error."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(SECRET_FILE_BYTES)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--secret-file") from None
    try:
        secret = bytes.fromhex(content.decode("ascii"))
        node_id(secret)
    except ValueError:
        words = f"{path} does not hold a node secret: 64 hex digits, as `triolight keygen` writes them"
        raise click.BadParameter(words, param_hint="--secret-file") from None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        _progress(f"warning: others can read {path}: chmod 600 it, or make a new one if they may have")
    return secret


def _new_secret() -> bytes:
    while True:
        secret = secrets.token_bytes(32)
        # One in 2**127 is no secret key.
        with suppress(ValueError):
            node_id(secret)
            return secret


def _manager(secret: bytes, logger: Logger, messages: Registry = BOLT) -> PeerManager:
    """A peer that talks to everybody and wants no channels."""
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    return PeerManager(handlers, secret, secrets.token_bytes(32), logger, messages=messages)


def _our_manager(secret_file: Path | None, verbose: int) -> PeerManager:
    _start_log(verbose)
    secret = _new_secret() if secret_file is None else _read_secret(secret_file)
    return _manager(secret, _logger(verbose))


def _port_of(listener: trio.SocketListener) -> int:
    return int(listener.socket.getsockname()[1])


# ---------------------------------------------------------------------------------------------------------------------
# Keys


@cli.command
@click.argument("file", type=_FILE)
def keygen(file: Path) -> None:
    """Write a new random node secret to FILE, and print its node id.

    FILE must not exist; it is nobody else's to read from the moment it does. It holds 64 hex digits.
    """
    if str(file) == "-":
        raise click.BadParameter("- is no file, and a secret is shown nowhere", param_hint="FILE")
    secret = _new_secret()
    try:
        # O_EXCL: a file or a link that is there already is left as it is. The mode is given to open itself, so that
        # there is no moment in which the umask alone decides who may read the secret.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.BadParameter(f"{file} exists already, and is not overwritten", param_hint="FILE") from None
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(secret.hex().encode("ascii") + b"\n")
            opened.flush()
            # Its node id is about to be told to the world; the secret shall not be lost to a power cut then.
            os.fsync(descriptor)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
    click.echo(node_id(secret).hex())


@cli.command("node-id")
@click.option("--secret-file", type=_FILE, metavar="FILE", required=True, help="The file that holds the node secret.")
def node_id_command(secret_file: Path) -> None:
    """Print the node id of a node secret."""
    click.echo(node_id(_read_secret(secret_file)).hex())


# ---------------------------------------------------------------------------------------------------------------------
# Ping


class _PingReport:
    """What a run of pings has seen, and how it is told. It outlives the run, so that Ctrl-C gets its summary too."""

    def __init__(self, as_json: bool) -> None:
        self._as_json: Final = as_json
        self._connected = False
        self._received = 0
        self._lost = 0
        self._shortest = math.inf
        self._longest = 0.0
        self._samples: list[float] = []

    def connected(self, peer: Peer, seconds: float) -> None:
        self._connected = True
        words = f"connected in {_milliseconds(seconds)} ms; it offers features {_offered(peer.features)}"
        _progress(words)
        if self._as_json:
            offered = peer.features.to_bytes().hex()
            _data(True, "", "connected", node_id=peer.node_id.hex(), seconds=seconds, features=offered)

    def pong(self, size: int, rtt: float) -> None:
        self._received += 1
        self._shortest = min(self._shortest, rtt)
        self._longest = max(self._longest, rtt)
        if len(self._samples) < SAMPLES:
            self._samples.append(rtt)
        elif (place := random.randrange(self._received)) < SAMPLES:
            self._samples[place] = rtt
        words = f"pong {self._received}: {size} bytes in {_milliseconds(rtt)} ms"
        _data(self._as_json, words, "pong", number=self._received, bytes=size, rtt=rtt)

    def lost(self) -> None:
        self._lost += 1

    def ended(self, event: str, reason: DisconnectReason) -> None:
        """`event`: it has failed to connect, or was disconnected."""
        _progress(f"{event}: {reason}")
        if self._as_json:
            _data(True, "", event, **_reason_fields(reason))

    def summary(self) -> None:
        if not self._connected:
            return
        sent = self._received + self._lost
        loss = self._lost / sent if sent else 0.0
        median = statistics.median(self._samples) if self._samples else None
        words = f"pings {sent}, pongs {self._received}, lost {loss:.1%}"
        if median is not None:
            times = " / ".join(map(_milliseconds, (self._shortest, median, self._longest)))
            words += f"; min / median / max {times} ms"
        _data(
            self._as_json,
            words,
            "summary",
            sent=sent,
            received=self._received,
            loss=loss,
            min=self._shortest if self._samples else None,
            median=median,
            max=self._longest if self._samples else None,
        )
        if not self._as_json and sys.stdout.isatty():
            for row in histogram(self._samples):
                click.echo(row)


def histogram(seconds: list[float]) -> list[str]:
    """Bars of how many round trips took how long, as lines; none for less than two different ones.

    Each row's times are the same factor above the last row's: round trips crowd at their minimum and have a long tail.
    """
    if not seconds or not 0 < min(seconds) < max(seconds):
        return []
    low, high = min(seconds), max(seconds)
    step = math.log(high / low) / HISTOGRAM_ROWS
    counts = [0] * HISTOGRAM_ROWS
    for one in seconds:
        counts[min(HISTOGRAM_ROWS - 1, int(math.log(one / low) / step))] += 1
    edges = [_milliseconds(low * math.exp(step * row)) for row in range(HISTOGRAM_ROWS + 1)]
    width = max(map(len, edges))
    return [
        f"  {edges[row]:>{width}} - {edges[row + 1]:>{width}} ms  "
        f"{'#' * math.ceil(HISTOGRAM_WIDTH * count / max(counts))} {count}"
        for row, count in enumerate(counts)
    ]


@cli.command("ping", epilog=EXIT_CODES)
@click.argument("address", callback=_as_address, metavar="NODE_ID@HOST:PORT")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N pongs.  [default: at Ctrl-C]")
@click.option(
    "--interval",
    type=click.FloatRange(min=0),
    callback=_as_seconds,
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="From one ping to the next, at least: a ping waits for the pong before it.",
)
@click.option(
    "--size",
    type=click.IntRange(0, LARGEST_PONG),
    metavar="BYTES",
    default=0,
    show_default=True,
    help=f"What each pong brings, up to {LARGEST_PONG}.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    callback=_as_seconds,
    metavar="SECONDS",
    default=CONNECT_SECONDS,
    show_default=True,
    help="For the whole connect: name, TCP, handshake, both Inits.",
)
@_tape_options
@_secret_option
@_json_option
@_verbose_option
@click.pass_context
def ping_command(
    ctx: click.Context,
    address: NodeAddress,
    count: int | None,
    interval: float,
    size: int,
    timeout: float,
    tape: Path | None,
    secret_tape: Path | None,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Dial a node, and measure its Lightning pings.

    The time of one is from when the ping is queued to when its pong has been read. At the end, at Ctrl-C too, comes a
    summary; on a terminal, with a histogram.
    """
    plan = _PingPlan(address, count, interval, size, timeout, _as_tape(tape, secret_tape))
    manager = _our_manager(secret_file, verbose)
    report = _PingReport(as_json)
    try:
        code = _run(_ping, manager, plan, report)
    finally:
        report.summary()
    ctx.exit(code)


@dataclass(frozen=True, slots=True)
class _PingPlan:
    """What `ping` was asked for."""

    address: NodeAddress
    count: int | None
    interval: float
    size: int
    connect_seconds: float
    tape: Tape | None = None


async def _ping(manager: PeerManager, plan: _PingPlan, report: _PingReport) -> int:
    patience = plan.connect_seconds
    # Init gets what is left of it after the handshake: `_connect` sees to that.
    async with open_peer_nursery(manager, handshake_deadline=patience, init_deadline=math.inf, tape=plan.tape) as peers:
        _progress(f"dialling {plan.address} as {manager.our_node_id.hex()}")
        began = trio.current_time()
        try:
            peer = await _connect(peers, plan)
        except ConnectError as error:
            report.ended("failed", error.reason)
            # A code that TCP's refusal and TCP's silence share; the time that it took tells them apart.
            silence = error.reason.code is DisconnectCode.TCP_FAILED and trio.current_time() - began >= patience
            return TIMEOUT if silence else exit_code(error.reason)
        report.connected(peer, trio.current_time() - began)
        try:
            await _ping_peer(peers, peer, plan, report)
        except PeerClosed as error:
            report.ended("disconnected", error.reason)
            return exit_code(error.reason)
        return 0


async def _connect(peers: PeerNursery, plan: _PingPlan) -> Peer:
    """`connect` with one deadline for all phases together. Late is a ConnectError as well."""
    try:
        with trio.fail_after(plan.connect_seconds + PHASE_SECONDS):
            return await peers.connect(plan.address)
    except trio.TooSlowError:
        # TCP and the handshake had the deadline without the addition, and kept it.
        words = f"the handshake was fine, but no Init came within {plan.connect_seconds:g} seconds of dialling"
        raise ConnectError(DisconnectReason(DisconnectCode.INIT_TIMEOUT, Side.US, words)) from None


async def _ping_peer(peers: PeerNursery, peer: Peer, plan: _PingPlan, report: _PingReport) -> None:
    """Pings until there were enough. Raises PeerClosed, and counts the ping that was under way then as lost."""
    left = math.inf if plan.count is None else plan.count
    while True:
        next_at = trio.current_time() + plan.interval
        if peers.peers.get(peer.node_id) is not peer:
            raise PeerClosed(await peer.wait_closed())
        try:
            rtt = await peer.ping(plan.size)
        except PeerClosed:
            report.lost()
            raise
        report.pong(plan.size, rtt)
        left -= 1
        if not left:
            return
        with trio.move_on_at(next_at):
            raise PeerClosed(await peer.wait_closed())


# ---------------------------------------------------------------------------------------------------------------------
# Listen


@cli.command(epilog=EXIT_CODES)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen: 0.0.0.0 or :: for everywhere.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 for any free one."
)
@click.option(
    "--metrics",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve http://127.0.0.1:PORT/metrics for Prometheus; 0 for any free port.",
)
@_tape_options
@_secret_option
@_json_option
@_verbose_option
def listen(
    host: str,
    port: int,
    metrics: int | None,
    tape: Path | None,
    secret_tape: Path | None,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Accept peers, answer their pings, and tell who comes and goes and why, until Ctrl-C.

    The first line is what others dial. Who does not get past the handshake shows in the log alone (-v).
    """
    if metrics is not None:
        _need("prometheus_client", "metrics")
    recorder = _as_tape(tape, secret_tape)
    _run(_listen, _our_manager(secret_file, verbose), host, port, metrics, recorder, as_json)


def _run(program: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """`trio.run`, but an exception that is alone in its group leaves as itself: Ctrl-C, or a port that is taken.

    SIGTERM and SIGHUP cancel the program, so that it says its goodbyes, and end the command with their exit codes.
    """
    try:
        return trio.run(_until_signal, program, arguments)
    except BaseExceptionGroup as group:
        raise _alone(group) from None


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
    raise click.exceptions.Exit(TERMINATED if first[0] == signal.SIGTERM else HUNG_UP)


def _need(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise click.UsageError(f"this needs the extra {extra!r}: pip install 'triolight[{extra}]'")


async def _serve_metrics(peers: PeerNursery, port: int, task_status: trio.TaskStatus[int]) -> None:
    from triolight.metrics import serve_metrics  # of an extra

    try:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    except OSError as error:
        raise _NoNetwork(f"cannot listen on 127.0.0.1 port {port}: {error.strerror}") from None
    task_status.started(_port_of(listeners[0]))
    await trio.serve_listeners(serve_metrics(peers), listeners)


async def _listen(
    manager: PeerManager, host: str, port: int, metrics: int | None, tape: Tape | None, as_json: bool
) -> None:
    async with trio.open_nursery() as nursery:
        await _listen_and_tell(nursery, manager, host, port, metrics, tape, as_json)


async def _listen_and_tell(
    nursery: trio.Nursery,
    manager: PeerManager,
    host: str,
    port: int,
    metrics: int | None,
    tape: Tape | None,
    as_json: bool,
) -> None:
    guests = _Guests(as_json)
    try:
        async with open_peer_nursery(manager, tape=tape) as peers, peers.events() as events:
            try:
                listeners = await peers.listen(port, host=host)
            except (OSError, UnicodeError) as error:
                words = getattr(error, "strerror", None) or error
                raise _NoNetwork(f"cannot listen on {host} port {port}: {words}") from None
            for listener in listeners:
                ours = str(listener.socket.getsockname()[0])
                address = NodeAddress(manager.our_node_id, ours, _port_of(listener))
                words = f"listening on {address}"
                _data(as_json, words, "listening", node_id=manager.our_node_id.hex(), host=ours, port=address.port)
            if metrics is not None:
                at = await nursery.start(_serve_metrics, peers, metrics)
                _data(as_json, f"metrics at http://127.0.0.1:{at}/metrics", "metrics", host="127.0.0.1", port=at)
            while True:
                try:
                    match await anext(events):
                        case PeerConnected(peer=peer):
                            guests.came(peer)
                        case PeerDisconnected(peer=peer, reason=reason):
                            guests.left(peer, reason)
                except EventsLost:
                    await guests.catch_up(set(peers.peers.values()))
    finally:
        # The block is left: those who were here until now have been told goodbye, and nothing is waited for.
        with trio.CancelScope(shield=True):
            await guests.catch_up(set())


@cli.command(epilog=EXIT_CODES)
@click.argument("nodes", nargs=-1, callback=_as_addresses, metavar="[NODE_ID@HOST:PORT]...")
@click.option("--listen", "port", type=click.IntRange(0, 65535), metavar="PORT", help="Take peers that dial, too.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen: 0.0.0.0 or :: for everywhere.")
@click.option("--proxy", callback=_as_proxy, metavar="socks5://HOST:PORT", help="Dial through this proxy, as Tor's.")
@click.option(
    "--interval",
    type=click.FloatRange(min=SHORTEST_INTERVAL),
    callback=_as_seconds,
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Between two tables.",
)
@click.option("--once", is_flag=True, help="One table, when each node is connected or has failed; then leave.")
@_secret_option
@_verbose_option
@click.pass_context
def top(
    ctx: click.Context,
    nodes: tuple[NodeAddress, ...],
    port: int | None,
    host: str,
    proxy: Proxy | None,
    interval: float,
    once: bool,
    secret_file: Path | None,
    verbose: int,
) -> None:
    """A live table of peers: the nodes that are named, kept connected, and those that dial us.

    Until Ctrl-C. It shows as much as the terminal has room for. With --once, exit code 3 if a node is not connected.
    """
    _need("rich", "cli")
    if proxy is not None:
        _need("python_socks", "tor")
    if not nodes and port is None:
        raise click.UsageError("nobody to show: name nodes, or --listen")
    from triolight.cli_top import TopPlan, run_top  # rich takes its time to load

    plan = TopPlan(_our_manager(secret_file, verbose), nodes, host, port, proxy, interval, once)
    ctx.exit(CONNECT if _run(run_top, plan) else 0)


@cli.command(epilog=EXIT_CODES)
@click.argument("address", callback=_as_address, metavar="NODE_ID@HOST:PORT")
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    callback=_as_seconds,
    metavar="SECONDS",
    default=PATIENCE_SECONDS,
    show_default=True,
    help="For a dial, for each answer, and for the node to close what it has to close; one question takes at most "
    "three times as long.",
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Also what takes minutes (510 pings, 8 a second; a handshake and a conversation that stop), and what may "
    "disturb (an open_channel, which is taken back).",
)
@_json_option
@click.pass_context
def check(ctx: click.Context, address: NodeAddress, patience: float, thorough: bool, as_json: bool) -> None:
    """Which rules of the BOLTs a node keeps: a table of what it does.

    About fifty short connections, each with a key that is made for it and forgotten, a few messages on each; on one
    1,100 that a node ignores. It is polite: nothing is flooded, nothing is changed. A question that cannot be asked, or
    whose answer says nothing about its rule, is "?". Exit code 5 if the node breaks a rule; 3, 4 or 6, and no rules, if
    it cannot be reached or its first handshake does not finish.
    """
    ctx.exit(_run(_check, address, patience, thorough, as_json))


async def _check(address: NodeAddress, patience: float, thorough: bool, as_json: bool) -> int:
    counts: dict[Verdict, int] = {}
    try:
        async for one in check_peer(address, patience=patience, thorough=thorough):
            counts[one.verdict] = counts.get(one.verdict, 0) + 1
            _data(as_json, str(one), "finding", rule=one.rule, where=one.where, verdict=one.verdict, seen=one.seen)
    except OSError as error:
        raise _NoNetwork(f"cannot reach {address}: {error.strerror or error}") from None
    except ConnectError as error:
        _progress(f"failed: {error.reason}")
        return exit_code(error.reason)
    _progress(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return PROTOCOL if Verdict.BREAKS in counts else 0


class _Guests:
    """Who is here, and since when; tells who comes and goes."""

    def __init__(self, as_json: bool) -> None:
        self._as_json: Final = as_json
        self._since: dict[Peer, float] = {}

    def came(self, peer: Peer) -> None:
        self._since[peer] = trio.current_time()
        place, offered = _place(peer), peer.features.to_bytes().hex()
        words = f"connected: {peer.node_id.hex()} from {place}, offers features {_offered(peer.features)}"
        _data(self._as_json, words, "connected", node_id=peer.node_id.hex(), address=place, features=offered)

    def left(self, peer: Peer, reason: DisconnectReason) -> None:
        seconds = trio.current_time() - self._since.pop(peer)
        words = f"disconnected: {peer.node_id.hex()} after {seconds:.3f} s: {reason}"
        fields = _reason_fields(reason)
        _data(self._as_json, words, "disconnected", node_id=peer.node_id.hex(), seconds=seconds, **fields)

    async def catch_up(self, here: set[Peer]) -> None:
        """Tells what has happened since the last event that was seen, from who is here now."""
        for peer in here - self._since.keys():
            self.came(peer)
        for peer in self._since.keys() - here:
            self.left(peer, await peer.wait_closed())


# ---------------------------------------------------------------------------------------------------------------------
# Demo


@message(40001)
class Greeting(Message):
    """The demo's own message. Above 32767 types are for experiments; odd ones are ignored by who does not know them."""

    text: wire.remainder


class _Story:
    """Tells the demo, and checks it."""

    def __init__(self) -> None:
        self._title = "before the first"
        self._number = 0
        self._width = min(100, shutil.get_terminal_size().columns)

    def step(self, title: str) -> None:
        self._number += 1
        self._title = title
        click.echo("\n" + click.style(f"{self._number}. {title}", bold=True))

    def tell(self, words: str) -> None:
        click.echo(click.wrap_text(words, self._width, "   ", "   "))

    def show(self, line: str) -> None:
        """Something to be copied, so it is not wrapped."""
        click.echo(f"      {line}")

    def check(self, happened: bool, words: str) -> None:
        """Says what happened, or ends the demo because it did not."""
        if not happened:
            raise self.failure(f"this did not happen: {words}")
        click.echo(click.style("   ok ", fg="green") + words)

    def failure(self, words: str) -> click.ClickException:
        return click.ClickException(f"the demo failed in step {self._number}, {self._title!r}: {words}")


@cli.command(epilog=EXIT_CODES)
@_verbose_option
def demo(verbose: int) -> None:
    """Show three peers at work, over real TCP within this machine.

    Nothing to set up, and nothing leaves the machine. Everything it says has been checked: it ends with 0 only if all
    of it happened.
    """
    _start_log(verbose)
    story = _Story()
    try:
        trio.run(_demo, story, verbose)
    except trio.TooSlowError:
        raise story.failure(f"not done within {DEMO_SECONDS:g} seconds") from None
    except (TriolightError, OSError) as error:
        if isinstance(error, BrokenPipeError) or getattr(error, "errno", None) in _UNWRITTEN:
            raise  # of the output, not of the story
        raise story.failure(str(error)) from error


async def _demo(story: _Story, verbose: int) -> None:
    click.echo("Three Lightning peers in one process, talking over real TCP connections on 127.0.0.1.")
    managers = {
        name: _manager(_new_secret(), _logger(verbose, f"triolight.{name}"), BOLT | {Greeting})
        for name in ("alice", "bob", "mallory")
    }
    with trio.fail_after(DEMO_SECONDS):
        async with open_peer_nursery(managers["alice"]) as alice, alice.events() as news:
            story.step("Three nodes")
            port = _port_of((await alice.listen(0, host="127.0.0.1"))[0])
            story.tell("A node is a secret key; its public key is the node's id.")
            for name, manager in managers.items():
                story.show(f"{name.capitalize():8} {manager.our_node_id.hex()}")
            address = NodeAddress(managers["alice"].our_node_id, "127.0.0.1", port)
            story.check(port > 0, f"Alice listens on 127.0.0.1 port {port}. She is dialled as")
            story.show(str(address))

            async with open_peer_nursery(managers["bob"]) as bob:
                to_alice, to_bob = await _demo_meeting(story, alice, news, bob, address)
                await _demo_pings(story, to_alice, to_bob)
                await _demo_greeting(story, to_alice, to_bob)
                async with open_peer_nursery(managers["mallory"]) as mallory:
                    await _demo_garbage(story, news, mallory, address)
                    story.step("Nobody else has noticed")
                    rtt = await to_alice.ping()
                    here = list(alice.peers) == [bob.manager.our_node_id]
                    story.check(here, f"Bob is still Alice's peer, and his ping takes {_milliseconds(rtt)} ms")

                story.step("Bob leaves")
                story.tell("Leaving his `async with` block says goodbye to his peers, and waits until it is written.")
            await _demo_goodbye(story, alice, news, bob.manager.our_node_id)
            story.step("Alice leaves")
        story.check(not alice.peers and not await _accepts(port), f"no peer is left, and nobody listens on port {port}")
    click.echo("\nAll of this really happened. The README shows how to do it in a program of yours.")


async def _next(events: Any, kind: type[T]) -> T:
    """The next event, which has to be of this kind."""
    event = await anext(events)
    if not isinstance(event, kind):
        raise TriolightError(f"expected {kind.__name__}, and there was {event}")
    return event


async def _demo_meeting(
    story: _Story, alice: PeerNursery, news: Any, bob: PeerNursery, address: NodeAddress
) -> tuple[Peer, Peer]:
    story.step("Bob dials Alice")
    story.tell(
        "First TCP. Then the handshake of BOLT 8, three short messages: it proves to Bob that this is Alice, to Alice "
        "that this is Bob, and from then on all bytes are encrypted. Then each says Init, with the features it offers."
    )
    began = trio.current_time()
    to_alice = await bob.connect(address)
    story.check(
        to_alice.node_id == alice.manager.our_node_id,
        f"Bob is connected with Alice after {_milliseconds(trio.current_time() - began)} ms",
    )
    to_bob = (await _next(news, PeerConnected)).peer
    story.check(
        to_bob.node_id == bob.manager.our_node_id and to_bob.inbound,
        f"Alice has learnt who dialled her, and his Init: features {_offered(to_bob.features)}",
    )
    return to_alice, to_bob


async def _demo_pings(story: _Story, to_alice: Peer, to_bob: Peer) -> None:
    story.step("Bob pings Alice")
    story.tell("A ping asks for a pong of so many bytes. The round trip is the whole way through both nodes.")
    for size in (0, 0, 0, 1000, LARGEST_PONG):
        rtt = await to_alice.ping(size)
        story.check(rtt > 0, f"pong of {size:5} bytes after {_milliseconds(rtt)} ms")
    ours, hers = to_alice.statistics(), to_bob.statistics()
    story.check(
        ours.messages_sent == hers.messages_received == 6 and ours.pings_outstanding == 0,
        f"Bob has sent {ours.messages_sent} messages, Init and 5 pings, and Alice has received as many",
    )


async def _demo_greeting(story: _Story, to_alice: Peer, to_bob: Peer) -> None:
    story.step("A message of our own")
    story.tell(
        f"Bob and Alice know a message that no BOLT defines, type {Greeting.type}. Whoever wants messages subscribes "
        "to them by their class."
    )
    async with to_bob.subscribe(Greeting) as alice_inbox, to_alice.subscribe(Greeting) as bob_inbox:
        await to_alice.send(Greeting(text=b"Hello, Alice!"))
        heard = await anext(alice_inbox)
        story.check(heard == Greeting(text=b"Hello, Alice!"), f"Alice gets {heard.text.decode()!r}")
        await to_bob.send(Greeting(text=b"Hello, Bob!"))
        heard = await anext(bob_inbox)
        story.check(heard == Greeting(text=b"Hello, Bob!"), f"Bob gets {heard.text.decode()!r}")


async def _demo_garbage(story: _Story, news: Any, mallory: PeerNursery, address: NodeAddress) -> None:
    story.step("Mallory sends garbage")
    story.tell(
        "Her handshake and Init are correct, what follows is not. No connection ends without a reason: the peer gets a "
        "warning that names it, and it is the same in our log, in our events, and for whoever waits for the peer."
    )
    for what, garbage, code in (
        (
            "a message of a type that Alice does not know, an even one (odd ones may be ignored, even ones must not)",
            UnknownMessage(39998, b"do as I say"),
            DisconnectCode.UNKNOWN_EVEN_MESSAGE,
        ),
        (
            "a ping that says it has 500 bytes, and has 3",
            UnknownMessage(Ping.type, bytes.fromhex("0000 01f4 abcdef")),
            DisconnectCode.MALFORMED_MESSAGE,
        ),
    ):
        async with mallory.subscribe(Warning) as warnings:
            to_alice = await mallory.connect(address)
            to_mallory = (await _next(news, PeerConnected)).peer
            story.check(to_mallory.node_id == mallory.manager.our_node_id, "Mallory is connected with Alice. She sends")
            story.show(what)
            await to_alice.send(garbage)
            ended = await _next(news, PeerDisconnected)
            story.check(
                ended.peer is to_mallory and ended.reason.code is code and ended.reason.by is Side.US,
                f"Alice has ended it: {ended.reason}",
            )
            _, warning = await anext(warnings)
            words = warning.data.decode("ascii")
            story.check(words == ended.reason.message, f"Mallory was told: {words!r}")
            reason = await to_alice.wait_closed()
            story.check(reason.code is DisconnectCode.PEER_CLOSED, f"Mallory's side of it: {reason}")


async def _demo_goodbye(story: _Story, alice: PeerNursery, news: Any, bob: bytes) -> None:
    ended = await _next(news, PeerDisconnected)
    story.check(
        ended.peer.node_id == bob and ended.reason.by is Side.PEER and "shutting down" in ended.reason.message,
        f"Alice has heard why he went: {ended.reason}",
    )
    story.check(not alice.peers, "Alice has no peers any more")


async def _accepts(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


if __name__ == "__main__":
    main()
