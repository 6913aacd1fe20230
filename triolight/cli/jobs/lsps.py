"""Asks a liquidity provider, and shows what it says. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import trio

from triolight import ConnectError, DecodeError, NodeAddress, PeerClosed, PeerManager, Proxy, open_peer_nursery
from triolight.cli.exits import Exit, FailedError, exit_of
from triolight.cli.node import our_manager
from triolight.cli.output import progress, say
from triolight.cli.running import run
from triolight.lsps import Json, JsonText, LspsError, OpeningFeeParams, OrderOptions, protocol_of
from triolight.services import Lsps, open_lsps
from triolight.text import printable


@dataclass(frozen=True, slots=True)
class Plan:
    """How the provider is reached, and as whom."""

    address: NodeAddress
    seconds: float
    secret_file: Path | None
    verbose: int
    proxy: Proxy | None = None


Act: TypeAlias = Callable[[Lsps], Awaitable[None]]


def show_protocols(plan: Plan, as_json: bool) -> int:
    """The exit code."""

    async def act(lsps: Lsps) -> None:
        found = await lsps.list_protocols()
        words = ", ".join(f"LSPS{number}" for number in found) or "LSPS0 and nothing else"
        say(json.dumps({"protocols": list(found)}) if as_json else f"protocols: {words}")

    return _run(plan, act)


def show_call(plan: Plan, method: str, params: Mapping[str, Json | JsonText]) -> int:
    """The exit code."""

    async def act(lsps: Lsps) -> None:
        protocol = protocol_of(method)
        if protocol:
            await lsps.offered(protocol)
        # Escaped, so that a terminal is told nothing.
        say(json.dumps(await lsps.request_with(method, params)))

    return _run(plan, act)


def show_info(plan: Plan, as_json: bool) -> int:
    """The exit code."""

    async def act(lsps: Lsps) -> None:
        protocols = await lsps.list_protocols()
        options = await lsps.lsps1.get_info() if 1 in protocols else None
        menu = (await lsps.lsps2.get_info()).opening_fee_params_menu if 2 in protocols else None
        if as_json:
            fields: dict[str, Json] = {"protocols": list(protocols)}
            fields["lsps1"] = None if options is None else options.to_json()
            fields["lsps2"] = None if menu is None else {"opening_fee_params_menu": [one.to_json() for one in menu]}
            say(json.dumps(fields))
            return
        say("protocols: " + (", ".join(f"LSPS{number}" for number in protocols) or "LSPS0 and nothing else"))
        if options is not None:
            say(_in_words(options))
        for line in menu or ():
            say(_line_in_words(line))

    return _run(plan, act)


def _in_words(options: OrderOptions) -> str:
    return (
        f"LSPS1: channels of {options.min_channel_balance_sat} to {options.max_channel_balance_sat} sat, of which "
        f"{options.min_initial_lsp_balance_sat} to {options.max_initial_lsp_balance_sat} sat are the provider's and "
        f"{options.min_initial_client_balance_sat} to {options.max_initial_client_balance_sat} sat the client's; for "
        f"at most {options.max_channel_expiry_blocks} blocks"
    )


def _line_in_words(line: OpeningFeeParams) -> str:
    until = f"{line.valid_until:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"LSPS2: payments of {line.min_payment_size_msat} to {line.max_payment_size_msat} msat; the opening costs "
        f"{line.proportional} ppm, and at least {line.min_fee_msat} msat; until {until}"
    )


def _run(plan: Plan, act: Act) -> int:
    return run(_ask, plan, our_manager(plan.secret_file, plan.verbose), act)


async def _ask(plan: Plan, manager: PeerManager, act: Act) -> Exit:
    unread = 0
    try:
        with trio.fail_after(plan.seconds):
            async with open_peer_nursery(manager, proxy=plan.proxy) as peers:
                peer = await peers.connect(plan.address)
                async with open_lsps(peer) as lsps:
                    try:
                        await act(lsps)
                    finally:
                        unread = lsps.statistics().unread
    except trio.TooSlowError:
        said = "; it says that it could not read what it was sent" if unread else ""
        progress(f"no answer within {plan.seconds:g} s{said}")
        return Exit.TIMEOUT
    except LspsError as error:
        raise FailedError(f"the provider says no: {error}") from None
    except DecodeError as error:
        progress(f"the answer is none of this method: {printable(str(error), escaped=True)}")
        return Exit.PROTOCOL
    except (ConnectError, PeerClosed) as error:
        progress(str(error.reason))
        return exit_of(error.reason)
    return Exit.OK
