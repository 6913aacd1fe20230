"""open_lsps and LspsServer, over connections, on the mock clock: answers, refusals, ends, and what strangers send."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, open_pair, until
from tests.support.providers import BOMBS, VECTORS, examples, payload_of, said
from triolight import DecodeError, Peer, PeerClosed
from triolight.lsps import (
    AppNames,
    CreateOrder,
    FeeMenu,
    JitChannel,
    LspsCode,
    LspsError,
    Notification,
    Order,
    OrderOptions,
    WebhookSet,
)
from triolight.messages import BOLT, LSPS0, UnknownMessage
from triolight.services import Lsps, LspsServer, open_lsps
from triolight.testing import run_seeded

MESSAGES = BOLT | {LSPS0}
(MENU,) = examples(2, "opening_fee_params_menu")
(ORDER,) = examples(1, "order_id", "payment")
ASKED = CreateOrder.from_json(next(one for one in examples(1, "token") if "order_id" not in one))


def always(result: Any) -> Callable[[bytes, dict[str, Any]], Any]:
    return lambda node_id, params: result


class Desk:
    """A provider's methods: some answer at once, some when they are let."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.gate = trio.Event()
        self.cancelled = 0

    def get_fees(self, node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((node_id.hex()[:4], params))
        if params.get("token") == "bad":
            raise LspsError(LspsCode.FEE_TOKEN, "no such token")
        return MENU

    def buy(self, node_id: bytes, params: dict[str, Any]) -> JitChannel:
        self.asked.append((node_id.hex()[:4], params))
        return JitChannel.from_json(examples(2, "jit_channel_scid")[0])

    async def options(self, node_id: bytes, params: dict[str, Any]) -> OrderOptions:
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return OrderOptions.from_json(examples(1, "supports_zero_channel_reserve")[0])

    async def refuse(self, node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        raise LspsError(LspsCode.ORDER_NOT_FOUND, data={"x": 1})

    @property
    def methods(self) -> dict[str, Any]:
        return {
            "lsps2.get_info": self.get_fees,
            "lsps2.buy": self.buy,
            "lsps1.get_info": self.options,
            "lsps1.create_order": always(Order.from_json(ORDER)),
            "lsps1.get_order": self.refuse,
            "lsps5.set_webhook": always(WebhookSet(num_webhooks=1, max_webhooks=2, no_change=False)),
            "lsps5.list_webhooks": always({"app_names": ["a"], "max_webhooks": 2}),
            "lsps5.remove_webhook": always(None),
            "own.long": always({"a": "x" * 65_533}),
        }


@asynccontextmanager
async def served(desk: Desk) -> AsyncGenerator[tuple[Lsps, LspsServer]]:
    server = LspsServer(desk.methods)
    far = make_manager(2, custom=server, messages=MESSAGES)
    async with server, open_pair(make_manager(1, messages=BOLT), far) as pair, open_lsps(pair.to_far) as lsps:
        yield lsps, server


async def test_everything_that_is_typed() -> None:
    desk = Desk()
    desk.gate.set()
    async with served(desk) as (lsps, server):
        assert await lsps.list_protocols() == (1, 2, 5)
        assert await lsps.request("lsps2.get_info", token=None) == MENU
        menu = await lsps.lsps2.get_info(token="coupon")
        assert menu == FeeMenu.from_json(MENU)
        jit = await lsps.lsps2.buy(menu.opening_fee_params_menu[0], 42_000)
        assert (str(jit.jit_channel_scid), jit.lsp_cltv_expiry_delta) == ("29451x4815x1", 144)
        line = MENU["opening_fee_params_menu"][0]
        client = identity(1).hex()[:4]
        assert desk.asked == [
            (client, {}),
            (client, {"token": "coupon"}),
            (client, {"opening_fee_params": line, "payment_size_msat": "42000"}),
        ]
        assert (await lsps.lsps1.get_info()).max_channel_expiry_blocks == 20_160
        order = await lsps.lsps1.create_order(ASKED)
        assert order == Order.from_json(ORDER)
        with pytest.raises(LspsError) as caught:
            await lsps.lsps1.get_order(order.order_id)
        assert (caught.value.code, caught.value.data) == (LspsCode.ORDER_NOT_FOUND, {"x": 1})
        assert (await lsps.lsps5.set_webhook("a", "https://example.org")).max_webhooks == 2
        assert await lsps.lsps5.list_webhooks() == AppNames(app_names=("a",), max_webhooks=2)
        await lsps.lsps5.remove_webhook("a")
        with pytest.raises(LspsError) as caught:
            await lsps.lsps2.get_info(token="bad")
        assert (caught.value.code, caught.value.message) == (LspsCode.FEE_TOKEN, "no such token")
        with pytest.raises(LspsError) as caught:
            await lsps.request("own.long")
        assert caught.value.code == LspsCode.INTERNAL_ERROR
        statistics = server.statistics()
        assert (statistics.requests, statistics.results, statistics.errors) == (12, 9, 3)
        assert lsps.statistics().answers == lsps.statistics().requests == 12
        assert repr(server) == "<LspsServer, 10 methods, 1 clients>"
        assert "0 in flight" in repr(lsps)


async def test_a_provider_is_told_by_its_feature_and_asked_for_what_it_lists() -> None:
    """What has heard one word that it does not know may never answer again."""
    for advertise in (True, False):
        server = LspsServer({"lsps2.get_info": Desk().get_fees}, advertise=advertise)
        far = make_manager(2, custom=server, messages=MESSAGES)
        async with open_pair(make_manager(1), far) as pair, open_lsps(pair.to_far) as lsps:
            assert pair.to_far.features.offers("lsps") is advertise
            assert not pair.to_near.features.offers("lsps")
            for call in (lsps.lsps1.get_info, lsps.lsps5.list_webhooks):
                with pytest.raises(LspsError, match="does not list LSPS") as caught:
                    await call()
                assert caught.value.code == LspsCode.METHOD_NOT_FOUND
            with pytest.raises(LspsError, match="does not list LSPS9"):
                await lsps.request("lsps9.nothing")
            assert server.statistics().requests == 1
            with pytest.raises(LspsError, match=r"method not found \(-32601\)"):
                await lsps.request("lsps2.nothing")
            with pytest.raises(LspsError) as caught:
                await lsps.request("lsps2.get_info", b=1, a=2)
            assert caught.value.data == {"unrecognized": ["a", "b"]}


@asynccontextmanager
async def asked_by_hand(server: LspsServer) -> AsyncGenerator[Callable[[bytes], Any]]:
    """Sends bytes, and gives what is answered before everybody waits."""
    far = make_manager(2, custom=server, messages=MESSAGES)
    async with open_pair(make_manager(1, messages=MESSAGES), far) as pair, pair.to_far.subscribe(LSPS0) as inbox:

        async def ask(payload: bytes) -> list[Any]:
            await pair.to_far.send(LSPS0(payload=payload))
            await pair.to_far.ping()
            await trio.testing.wait_all_tasks_blocked()
            found: list[Any] = []
            while True:
                try:
                    found.append(json.loads(inbox.receive_nowait().payload))
                except trio.WouldBlock:
                    return found

        yield ask


async def test_what_a_server_owes() -> None:
    server = LspsServer({})
    async with asked_by_hand(server) as ask:
        rows = [(payload_of(row), row["owes"]) for row in VECTORS["server"]]
        for payload, owes in [*rows, *((bomb, -32700) for bomb in BOMBS.values())]:
            answers = await ask(payload)
            if owes == "nothing":
                assert answers == []
                continue
            (answer,) = answers
            assert answer["jsonrpc"] == "2.0"
            if owes == "result":
                assert answer["result"] == {"protocols": []}
            else:
                assert answer["error"]["code"] == owes
                assert (answer["id"] is None) == (owes == -32700)
                if owes == -32602:
                    assert isinstance(answer["error"]["data"]["unrecognized"], list)
        statistics = server.statistics()
        assert statistics.unread == len(BOMBS) + sum(owes == -32700 for _, owes in rows)
        assert statistics.ignored == 2


async def test_an_answer_always_fits() -> None:
    async with asked_by_hand(LspsServer({})) as ask:
        name = "k" * 65_400
        (answer,) = await ask(said(id="x" * 32, method="lsps0.list_protocols", params={name: 0}))
        assert answer["error"]["data"] == {"unrecognized": []}
        (answer,) = await ask(said(id="x" * 256, method="m" * 65_000, params={}))
        assert (answer["id"], answer["error"]["code"]) == ("x" * 256, -32601)
        (answer,) = await ask(said(id="x" * 257, method="m", params={}))
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)


async def test_ten_of_a_peer_wait_and_its_end_cancels_them() -> None:
    desk = Desk()
    server = LspsServer(desk.methods)
    async with server:
        async with asked_by_hand(server) as ask:
            for number in range(10):
                assert await ask(said(id=str(number), method="lsps1.get_info", params={})) == []
            (answer,) = await ask(said(id="more", method="lsps1.get_info", params={}))
            assert answer["error"]["code"] == LspsCode.INTERNAL_ERROR
            assert "10 requests" in answer["error"]["message"]
            (answer,) = await ask(said(id="plain", method="lsps2.get_info", params={}))
            assert answer["result"] == MENU
        await until(lambda: server.statistics().left == 10)
        assert desk.cancelled == 10
        assert repr(server).endswith("0 clients>")


async def test_a_server_without_its_block_has_no_async_answers() -> None:
    desk = Desk()
    server = LspsServer(desk.methods)
    async with asked_by_hand(server) as ask:
        (answer,) = await ask(said(id="a", method="lsps1.get_info", params={}))
        assert "not running" in answer["error"]["message"]
        async with server:
            with pytest.raises(RuntimeError, match="a block already"):
                await server.__aenter__()
            desk.gate.set()
            (answer,) = await ask(said(id="b", method="lsps1.get_info", params={}))
            assert "result" in answer
        with pytest.raises(KeyError):
            async with server:
                raise KeyError


async def test_a_bug_of_a_method_leaves_the_block() -> None:
    async def bug(node_id: bytes, params: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    server = LspsServer({"own.bug": bug})
    with pytest.raises(ExceptionGroup) as caught:
        async with server, asked_by_hand(server) as ask:
            await ask(said(id="a", method="own.bug", params={}))
            await trio.sleep_forever()
    assert caught.group_contains(ZeroDivisionError)
    server = LspsServer({"own.bug": always(7)})
    with pytest.raises(ExceptionGroup) as caught:
        async with asked_by_hand(server) as ask:
            await ask(said(id="a", method="own.bug", params={}))
    assert caught.group_contains(TypeError, match=r"own\.bug gives a dict or a record, not int")


class Scripted:
    """A provider that says what a test says."""

    def __init__(self, lsps: Lsps, peer: Peer, inbox: Any) -> None:
        self.lsps = lsps
        self._peer = peer
        self._inbox = inbox

    async def say(self, *payloads: bytes) -> None:
        for payload in payloads:
            await self._peer.send(LSPS0(payload=payload))
        await self._peer.ping()

    async def hear(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await anext(self._inbox)).payload)
        return found

    async def end(self) -> None:
        await self._peer.disconnect()


@asynccontextmanager
async def scripted() -> AsyncGenerator[Scripted]:
    managers = (make_manager(number, messages=MESSAGES) for number in (1, 2))
    async with (
        open_pair(*managers) as pair,
        pair.to_near.subscribe(LSPS0) as inbox,
        open_lsps(pair.to_far) as lsps,
    ):
        yield Scripted(lsps, pair.to_near, inbox)


async def test_answers_find_their_requests_whatever_comes_between() -> None:
    async with scripted() as provider, trio.open_nursery() as nursery:
        got: dict[str, Any] = {}

        async def ask(method: str) -> None:
            try:
                got[method] = await provider.lsps.request(method)
            except (LspsError, DecodeError) as error:
                got[method] = error

        asked: dict[str, str] = {}
        for method in ("a.first", "a.second", "a.third"):
            nursery.start_soon(ask, method)
            heard = await provider.hear()
            assert heard == {"jsonrpc": "2.0", "id": heard["id"], "method": method, "params": {}}
            assert len(heard["id"]) == 32
            asked[method] = heard["id"]
        first, second, third = asked.values()
        await provider.say(
            *BOMBS.values(),
            said(id=None, error={"code": -32700, "message": "parse error", "data": None}),
            said(id="strange", result={}),
            said(id=first, result={}, error={"code": 1}),
            said(id="a", method="lsps0.list_protocols", params={}),
            said(id=third, result={"is": "third"}),
            said(id=third, result={"is": "again"}),
            said(id=second, error={"code": 777}),
            said(id=first, result=[]),
        )
        await until(lambda: len(got) == 3)
        assert got["a.third"] == {"is": "third"}
        assert got["a.second"].code == 777
        assert isinstance(got["a.first"], DecodeError)
        statistics = provider.lsps.statistics()
        assert (statistics.bad, statistics.unread, statistics.unknown) == (len(BOMBS) + 2, 1, 2)


async def test_who_is_cancelled_is_forgotten_and_its_answer_is_late(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted() as provider:
        with trio.move_on_after(60) as scope:
            await provider.lsps.request("a.b")
        assert scope.cancelled_caught
        assert "0 in flight" in repr(provider.lsps)
        number = (await provider.hear())["id"]
        await provider.say(said(id=number, result={}), said(id=number, result={}))
        await until(lambda: provider.lsps.statistics().unknown == 1)
        assert provider.lsps.statistics().late == 1


async def test_ten_are_in_flight_and_others_wait() -> None:
    async with scripted() as provider, trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(provider.lsps.request, "a.b")
        numbers = [(await provider.hear())["id"] for _ in range(10)]
        await trio.testing.wait_all_tasks_blocked()
        assert provider.lsps.statistics().requests == 10
        await provider.say(*(said(id=number, result={}) for number in numbers[:2]))
        await provider.say(*[said(id=(await provider.hear())["id"], result={}) for _ in range(2)])
        await provider.say(*(said(id=number, result={}) for number in numbers[2:]))
    assert provider.lsps.statistics().answers == 12


async def test_the_end_of_the_peer_wakes_who_waits_and_ends_what_is_read() -> None:
    async with scripted() as provider:
        ended: list[str] = []

        async def ask() -> None:
            with pytest.raises(PeerClosed):
                await provider.lsps.request("a.b")
            ended.append("request")

        async def read() -> None:
            async for _ in provider.lsps.notifications():
                pass
            ended.append("notifications")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(read)
            await provider.hear()
            await provider.end()
        assert sorted(ended) == ["notifications", "request"]
        with pytest.raises(PeerClosed):
            await provider.lsps.request("a.b")


async def test_notifications_wait_for_their_reader_and_no_more_than_so_many() -> None:
    async with scripted() as provider:
        await provider.say(*(said(method="lsps5.x", params={"n": number}) for number in range(66)))
        await until(lambda: provider.lsps.statistics().lost == 2)
        notes = provider.lsps.notifications()
        for number in range(64):
            assert await anext(notes) == Notification("lsps5.x", {"n": number})
        await provider.say(said(method="lsps5.x", params={}))
        assert (await anext(notes)).params == {}


async def test_a_server_notifies_who_has_asked_before() -> None:
    async with served(Desk()) as (lsps, server):
        client = identity(1)
        assert not server.notify(client, "lsps5.expiry_soon", timeout=7)
        await lsps.list_protocols()
        assert server.notify(client, "lsps5.expiry_soon", timeout=7)
        assert await anext(lsps.notifications()) == Notification("lsps5.expiry_soon", {"timeout": 7})


async def test_one_block_a_peer_and_after_it_nothing() -> None:
    async with scripted() as provider:
        peer = provider.lsps.peer
        with pytest.raises(RuntimeError, match="block of open_lsps already"):
            async with open_lsps(peer):
                pass
    async with open_pair() as pair:
        left: list[Lsps] = []
        with pytest.raises(KeyError):  # bare
            async with open_lsps(pair.to_far) as lsps:
                left.append(lsps)
                raise KeyError
        with pytest.raises(trio.ClosedResourceError):
            await left[0].request("a.b")
        async with open_lsps(pair.to_far) as lsps:
            await pair.to_near.send(UnknownMessage(37_915, b"else"))
            with pytest.raises(ValueError, match="65533 bytes"):
                await lsps.request("a.b", c="x" * 65_533)
            await pair.to_near.ping()
            assert lsps.statistics().bad == 0


def test_a_run_repeats() -> None:
    """From one seed the same ids, the same bytes, the same numbers."""

    async def run() -> tuple[Any, ...]:
        desk = Desk()
        server = LspsServer(desk.methods)
        drawn = iter(range(1, 100))
        async with (
            server,
            open_pair(make_manager(1), make_manager(2, custom=server)) as pair,
            open_lsps(pair.to_far, random_bytes=lambda count: next(drawn).to_bytes(count, "big")) as lsps,
        ):
            with trio.move_on_after(30):
                await lsps.lsps1.get_info()
            desk.gate.set()
            await lsps.lsps1.get_info()
            return lsps.statistics(), server.statistics(), trio.current_time(), pair.to_far.statistics().bytes_received

    assert run_seeded(3, run) == run_seeded(3, run)
