"""``triolight offer fetch-invoice`` as its users have it: a process, a node that sells, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from tests.support import identity, make_manager, port_of, secret
from tests.support.onions import random
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, unread
from tests.support.sellers import Answer, offer_of, seller
from triolight import open_peer_nursery
from triolight.onion import InvoiceError, OnionMessenger
from triolight.services import OnionReceived, open_onion_messenger

OFFER = offer_of(1).encode()


@asynccontextmanager
async def a_node(answer: Answer) -> AsyncIterator[str]:
    """A node that does this with each message."""
    onions = OnionMessenger(secret(1), random(1))
    async with (
        trio.open_nursery() as nursery,
        open_peer_nursery(make_manager(1, onion=onions)) as peers,
        open_onion_messenger(peers, onions) as messenger,
        messenger.subscribe() as inbox,
    ):

        async def listen() -> None:
            async for received in inbox:
                await answer(received)

        nursery.start_soon(listen)
        yield f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
        nursery.cancel_scope.cancel()


async def fetch(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "offer", "fetch-invoice", *arguments]
    with trio.fail_after(PATIENCE):
        return await trio.run_process(command, capture_stderr=True, check=False, **{"capture_stdout": True} | options)


async def silent(received: OnionReceived) -> None:
    pass


async def test_an_invoice_is_fetched() -> None:
    async with a_node(seller(1, time.time())) as node:
        done = await fetch(OFFER, "--via", node, "--note", "milk", "--json")
        assert (done.returncode, done.stderr) == (0, b"")
        fields = json.loads(done.stdout)
        assert (fields["event"], fields["amount_msat"], fields["payer_note"]) == ("invoice", 1000, "milk")
        assert (fields["node_id"], fields["description"]) == (identity(1).hex(), "tea")
        command = [*COMMAND, "invoice", "decode", fields["invoice"], "--json"]
        shown = await trio.run_process(command, capture_stdout=True)
        request = fields.pop("invoice_request")
        assert json.loads(shown.stdout) == fields
        assert fields["invoice"].startswith(request[:20])
        words = await fetch(OFFER, "--via", node, "--amount-msat", "2000")
        assert words.stdout.startswith(f"invoice {fields['payment_hash']}\n  invoice: ".encode())
        assert b"  amount_msat: 2000\n" in words.stdout


async def test_exit_code_1_where_the_other_side_says_no() -> None:
    async def refuse(received: OnionReceived) -> None:
        await received.reply(invoice_error=InvoiceError.make("sold \x1bout").data)

    async with a_node(refuse) as node:
        done = await fetch(OFFER, "--via", node)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"Error: no invoice is given: sold \\x1bout\n"


async def test_exit_code_2_for_what_does_not_fit_the_offer() -> None:
    async with a_node(silent) as node:
        for arguments, rule in (
            (["lno1q"], b"(B3)"),
            ([OFFER, "--quantity", "2", "--via", node], b"invreq_quantity"),
            ([OFFER, "--amount-msat", "2", "--via", node], b"invreq_amount"),
            ([OFFER, "--chain", "regtest", "--via", node], b"other chains: bitcoin"),
            ([OFFER, "--via", "nobody"], b"--via"),
        ):
            done = await fetch(*arguments)
            assert (done.returncode, done.stdout) == (2, b"")
            assert rule in done.stderr


async def test_exit_code_3_where_there_is_no_way() -> None:
    done = await fetch(OFFER)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"--via names a node" in done.stderr
    done = await fetch(OFFER, "--via", f"{identity(1).hex()}@127.0.0.1:1")
    assert done.returncode == 3
    async with a_node(silent) as node:
        done = await fetch(offer_of(2).encode(), "--via", node, "--seconds", "0.5")
        assert done.returncode == 6  # it goes over that node, which drops it


async def test_exit_code_5_for_another_invoice() -> None:
    async with a_node(seller(1, time.time(), invoice_amount=1001)) as node:
        done = await fetch(OFFER, "--via", node)
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"(B17)" in done.stderr


async def test_exit_code_6_where_nothing_comes() -> None:
    async with a_node(silent) as node:
        done = await fetch(OFFER, "--via", node, "--seconds", "0.2")
    assert (done.returncode, done.stdout) == (6, b"")
    assert done.stderr == b"no answer within 0.2 s\n"


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_a_signal_ends_the_waiting(number: signal.Signals, code: int) -> None:
    heard = trio.Event()

    async def hear(received: OnionReceived) -> None:
        heard.set()

    async with a_node(hear) as node:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                start = partial(
                    trio.run_process, [*COMMAND, "offer", "fetch-invoice", OFFER, "--via", node], check=False
                )
                process = await nursery.start(start)
                await heard.wait()
                process.send_signal(number)
    assert process.returncode == code


async def test_exit_code_141_for_a_reader_that_has_left() -> None:
    async with a_node(seller(1, time.time())) as node:
        with unread() as pipe:
            done = await fetch(OFFER, "--via", node, capture_stdout=False, stdout=pipe)
    assert done.returncode == 141
