"""``triolight lsps protocols``, ``lsps call`` and ``lsps info``: what they are asked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    json_option,
    need,
    node_argument,
    proxy_option,
    seconds_option,
    secret_option,
    verbose_option,
)
from triolight.errors import DecodeError
from triolight.lsps import METHODS, Json, JsonText, encode_request, read_value
from triolight.text import quoted

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy
    from triolight.cli.jobs.lsps import Plan

_C = TypeVar("_C", bound=Callable[..., Any])
GIVES = (
    Exit.OK,
    Exit.FAILED,
    Exit.USAGE,
    Exit.CONNECT,
    Exit.HANDSHAKE,
    Exit.PROTOCOL,
    Exit.TIMEOUT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)


def _dials(do: _C) -> _C:
    """The options of all three; the function gets a plan in place of those that say how the node is reached."""

    @functools.wraps(do)
    def plan_first(
        address: NodeAddress, proxy: Proxy | None, seconds: float, secret_file: Path | None, verbose: int, **rest: Any
    ) -> None:
        if proxy is not None:
            need("python_socks", "tor")
        from triolight.cli.jobs.lsps import Plan  # with Trio, which help and completion do without

        do(Plan(address, seconds, secret_file, verbose, proxy), **rest)

    options = (
        proxy_option,
        seconds_option("--seconds", 60, "For all of it.", open=True),
        secret_option,
        json_option,
        verbose_option,
    )
    decorated: Any = plan_first
    for option in reversed(options):
        decorated = option(decorated)
    made: _C = decorated
    return made


@command("lsps protocols", *GIVES)
@node_argument
@_dials
@click.pass_context
def protocols(ctx: click.Context, plan: Plan, as_json: bool) -> None:
    """Ask a liquidity provider which LSPS protocols it has.

    Exit code 1 if it says no; 6 if nothing comes: it may be no provider.
    """
    from triolight.cli.jobs.lsps import show_protocols  # with Trio, as above

    ctx.exit(show_protocols(plan, as_json))


@command("lsps info", *GIVES)
@node_argument
@_dials
@click.pass_context
def info(ctx: click.Context, plan: Plan, as_json: bool) -> None:
    """Ask a liquidity provider what it sells: channels to order, LSPS1, and what opening one costs, LSPS2.

    Nothing is ordered. Exit code 1 if it says no; 5 if what comes is nothing that LSPS knows; 6 if nothing comes.
    """
    from triolight.cli.jobs.lsps import show_info  # with Trio, as above

    ctx.exit(show_info(plan, as_json))


def _as_method(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        encode_request("", value, {})
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return value


def _as_params(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Json | JsonText]:
    method: str = ctx.params["method"]
    found: dict[str, Json | JsonText] = {}
    for one in value:
        name, equals, text = one.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"not NAME=VALUE: {quoted(one, 80)}", ctx, param)
        if name in found:
            raise click.BadParameter(f"{quoted(name, 80)} stands twice", ctx, param)
        found[name] = _as_value(ctx, param, method, name, text)
    try:
        encode_request("", method, found)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return found


def _as_value(ctx: click.Context, param: click.Parameter, method: str, name: str, text: str) -> Json | JsonText:
    """JSON if it is some that the parameter takes, else text, if that is what it takes."""
    known = METHODS.get(method)
    try:
        value = read_value(text)
    except DecodeError:
        value = text
    if known is None or name not in known.params.names() or known.params.takes(name, value):
        # An object goes out as it stands here: a provider may have signed it.
        return JsonText(text) if isinstance(value, dict) else value
    if known.params.takes(name, text):
        return text
    raise click.BadParameter(f"{method} takes no such {name}: {quoted(text, 80)}", ctx, param)


@command("lsps call", *GIVES)
@click.argument("method", callback=_as_method, is_eager=True)
@node_argument
@click.argument("params", nargs=-1, callback=_as_params, metavar="[NAME=VALUE]...")
@_dials
@click.pass_context
def call(ctx: click.Context, plan: Plan, method: str, params: dict[str, Json | JsonText], as_json: bool) -> None:
    """Call a method of a liquidity provider, as lsps2.get_info, and show its result: JSON, on one line.

    A VALUE is what the method takes by that name: digits, text, true or false, JSON. For a method that no LSPS here
    has it is JSON, or text if it is none: quotes around digits make them text. Some methods cost something once they
    are called. A method of a protocol that the provider does not list is not sent: some answer nothing more then.
    Exit code 1 if it says no; 6 if nothing comes.
    """
    from triolight.cli.jobs.lsps import show_call  # with Trio, as above

    ctx.exit(show_call(plan, method, params))
