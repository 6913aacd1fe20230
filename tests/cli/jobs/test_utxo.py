"""A chain is looked at before a command begins: who is not there, or of another chain, ends it in words."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import trio
import trio.testing

from tests.support.chains import Asked, Chain, Reply, serving
from triolight.chains import BITCOIN, REGTEST
from triolight.cli.exits import NoNetworkError
from triolight.cli.jobs.utxo import LOOKED_EVERY, WELL_FOR, open_chain
from triolight.cli.options import Utxo
from triolight.gossip import Failed, UtxoResult
from triolight.services.utxo import TIP_SECONDS
from triolight.wire import ShortChannelId


class Nobody:
    """Who takes answers, and forgets them."""

    def resolve(self, token: int, result: UtxoResult) -> None: ...
    def block_connected(self, height: int) -> None: ...
    def block_disconnected(self, height: int) -> None: ...


async def test_one_that_answers_is_open_until_the_block_is_left() -> None:
    async with serving(Chain().rpc) as server:
        async with open_chain(Utxo(f"http://127.0.0.1:{server.port}", None, None), REGTEST.chain_hash) as source:
            assert source is not None
            assert source.height == 120
            source.answers_to(Nobody())
        late = source.get_utxo(REGTEST.chain_hash, ShortChannelId.of(1, 0, 0), 1)
        assert late == Failed("the block of this UtxoSource was left")
    async with open_chain(None, REGTEST.chain_hash) as source:
        assert source is None


async def test_a_password_comes_from_its_file(tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    cookie.write_text("me:secret\n")
    chain = Chain()
    async with serving(chain.rpc) as server:
        url = f"bitcoind+http://127.0.0.1:{server.port}"
        async with open_chain(Utxo(url, cookie, None), REGTEST.chain_hash):
            pass
        assert {one.headers["authorization"] for one in server.asked} == {"Basic bWU6c2VjcmV0"}
        server.answer = lambda asked: Reply(401, b"")
        with pytest.raises(NoNetworkError) as caught:
            async with open_chain(Utxo(url, cookie, None), REGTEST.chain_hash):
                pass
    assert caught.value.exit_code == 3
    assert (
        caught.value.message == f"bitcoind http://127.0.0.1:{server.port}: it refuses our user and password (HTTP 401)"
    )


async def test_another_chain_and_nobody(mock_clock: trio.testing.MockClock) -> None:
    async with serving(Chain().esplora) as server:
        url = f"esplora+http://127.0.0.1:{server.port}/api"
        with pytest.raises(NoNetworkError, match="it has the chain regtest, not bitcoin"):
            async with open_chain(Utxo(url, None, None), BITCOIN.chain_hash):
                pass
    found: list[str] = []

    async def look() -> None:
        with pytest.raises(NoNetworkError) as caught:
            async with open_chain(Utxo(url, None, None), REGTEST.chain_hash):
                pass
        found.append(caught.value.message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        while not found:
            await trio.testing.wait_all_tasks_blocked(0.02)
            mock_clock.jump(0.25)
    assert found == [f"esplora http://127.0.0.1:{server.port}/api: Connection refused"]


def refuse(asked: Asked) -> Reply:
    return Reply(500, b"no")


async def test_a_server_that_goes_and_comes_back_is_said_once_each(
    mock_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = Chain()
    async with serving(chain.rpc) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with open_chain(Utxo(url, None, None), REGTEST.chain_hash) as source:
            assert source is not None
            for answer, well in ((refuse, False), (chain.rpc, True)):
                server.answer = answer
                mock_clock.jump(TIP_SECONDS)
                for _ in range(1000):
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    if bool(source.trouble) != well:
                        break
                for seconds in (LOOKED_EVERY, WELL_FOR):
                    mock_clock.jump(seconds)
                    await trio.testing.wait_all_tasks_blocked(0.01)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"bitcoind {url}: ")
    assert "it answers again" not in first
    assert second == f"bitcoind {url}: it answers again"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1:1", r"begins with .*esplora\+https://"),
        ("http://127.0.0.1", "has a port"),
        ("nonsense", "begins with"),
        ("esplora+https://", "has a host"),
        ("https://127.0.0.1:1?cafile=/does/not/exist", "No such file or directory"),
    ],
)
async def test_what_is_no_server_at_all(url: str, words: str) -> None:
    with pytest.raises(click.BadParameter, match=words) as caught:
        async with open_chain(Utxo(url, None, None), REGTEST.chain_hash):
            pass
    assert caught.value.exit_code == 2


async def test_files_that_are_something_else(tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("Dear Sir")
    for url, auth, ca, words in (
        ("http://127.0.0.1:1", letter, None, "not one line user:password"),
        ("https://127.0.0.1:1", None, letter, "no certificate in PEM"),
        ("http://127.0.0.1:1", None, letter, "a CA file is for https"),
        ("http://127.0.0.1:1", tmp_path / "gone", None, "gone: No such file or directory"),
    ):
        with pytest.raises(click.BadParameter, match=words):
            async with open_chain(Utxo(url, auth, ca), REGTEST.chain_hash):
                pass
