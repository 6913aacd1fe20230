"""open_lsps: a liquidity provider is asked. LspsServer: a liquidity provider answers. JSON-RPC in LSPS0 messages.

An answer is waited for as long as its caller waits, and the peer is there. What comes that is no answer is counted, and
ends nothing. A server answers each request that it can identify, and sends nothing to who has not asked.
"""

from __future__ import annotations

import inspect
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar, cast

import trio

from triolight.actions import SendMessages
from triolight.errors import DecodeError, DisconnectReason, PeerClosed
from triolight.features import Features
from triolight.handlers import CustomMessageHandler
from triolight.lsps.asking import Asking, LspsStatistics
from triolight.lsps.fields import Record
from triolight.lsps.lsps0 import Protocols
from triolight.lsps.lsps1 import CreateOrder, GetOrder, Order, OrderOptions
from triolight.lsps.lsps2 import Buy, FeeMenu, GetFees, JitChannel, OpeningFeeParams
from triolight.lsps.lsps5 import AppNames, RemoveWebhook, SetWebhook, WebhookSet
from triolight.lsps.methods import LIST_PROTOCOLS, check_params, protocol_of, protocols_of
from triolight.lsps.rpc import (
    Answer,
    Json,
    JsonText,
    LspsCode,
    LspsError,
    Notification,
    PayloadTooLong,
    Request,
    encode_error,
    encode_notification,
    encode_result,
    read_request,
)
from triolight.messages import LSPS0, AnyMessage, Init, Message, UnknownMessage
from triolight.shell.inboxes import Inbox
from triolight.shell.peer import Peer

__all__ = ["Lsps", "Lsps1", "Lsps2", "Lsps5", "LspsServer", "LspsServerStatistics", "open_lsps"]

IN_FLIGHT: Final = 10
"""Requests of one peer at a time, of ours as a client too: more than so many LDK refuses."""
NOTIFICATIONS: Final = 64
"""That wait for their reader; more are dropped and counted."""
BYTES_OF_UNIT: Final = 512
"""Of JSON that is read, as much work as a small message."""
FEATURE: Final = "lsps"
TYPE_BYTES: Final = 2

R = TypeVar("R", bound=Record)
Handler: TypeAlias = Callable[[bytes, dict[str, Json]], "Result | Awaitable[Result]"]
"""What answers a method, given the peer's node id and the parameters: plain, or async."""
Result: TypeAlias = Mapping[str, Json] | Record | None
"""An answer's result; None for an empty one."""


# A client.


class Lsps:
    """What `open_lsps` gives."""

    def __init__(self, peer: Peer, inbox: Inbox[AnyMessage], random_bytes: Callable[[int], bytes]) -> None:
        self.peer: Final = peer
        """The provider."""
        self.lsps1: Final = Lsps1(self)
        self.lsps2: Final = Lsps2(self)
        self.lsps5: Final = Lsps5(self)
        self._inbox: Final = inbox
        self._asking: Final = Asking(random_bytes)
        self._room: Final = trio.Semaphore(IN_FLIGHT)
        self._waiting: Final[set[trio.Event]] = set()
        self._said, self._heard = trio.open_memory_channel[Notification](NOTIFICATIONS)
        self._protocols: tuple[int, ...] | None = None
        self._reason: DisconnectReason | None = None
        self._left = False

    def __repr__(self) -> str:
        return f"<Lsps of {self.peer!r}, {len(self._asking)} in flight>"

    @trio.lowlevel.enable_ki_protection
    async def list_protocols(self) -> tuple[int, ...]:
        """Which protocols the provider has beside LSPS0, in order. Asked anew each time. Raises as `request` does."""
        found = await self.call(LIST_PROTOCOLS, {}, Protocols)
        self._protocols = tuple(sorted({*found.protocols}))
        return self._protocols

    @trio.lowlevel.enable_ki_protection
    async def request(self, method: str, /, **params: Json) -> dict[str, Json]:
        """Asks, and gives the result as it came. Parameters that are None are left out. A checkpoint.

        There is no answer as long as there is none: the deadline is the caller's cancel scope, and some providers
        answer nothing to what they do not know. Waits while 10 requests are in flight. Raises LspsError if the provider
        says no, or has listed its protocols and this method's is not among them; DecodeError if the result is no
        object; PeerClosed if the peer ends; ValueError for what no message holds. Cancelled: the request may have gone
        out, and its answer is nobody's.
        """
        return await self.request_with(method, {name: value for name, value in params.items() if value is not None})

    @trio.lowlevel.enable_ki_protection
    async def request_with(self, method: str, params: Mapping[str, Json | JsonText]) -> dict[str, Json]:
        """`request` with all parameters as one object: whatever they are called, and JSON that goes out as it is."""
        return _result(await self._ask(method, params))

    @trio.lowlevel.enable_ki_protection
    async def call(self, method: str, params: Mapping[str, Json | JsonText], result: type[R]) -> R:
        """Asks, and gives the result as a record. Raises as `request` does, and DecodeError for a result of another
        form."""
        return result.from_json(_result(await self._ask(method, params)))

    def notifications(self) -> AsyncIterator[Notification]:
        """``async for note in lsps.notifications()``: what the provider says by itself, since the block was entered.

        64 wait for their reader, and more are lost. Ends with the peer, and with the block.
        """
        return self._heard

    def statistics(self) -> LspsStatistics:
        """A snapshot."""
        return self._asking.statistics()

    async def offered(self, protocol: int) -> None:
        """LspsError if the provider does not list this protocol. It is asked once: some never answer again whom they
        have heard saying what they do not know."""
        if self._protocols is None:
            await self.list_protocols()
        self._check(protocol)

    def _check(self, protocol: int | None) -> None:
        if protocol and self._protocols is not None and protocol not in self._protocols:
            raise LspsError(LspsCode.METHOD_NOT_FOUND, f"the provider does not list LSPS{protocol}")

    async def ask_text(self, method: str, params: Mapping[str, Json | JsonText]) -> str:
        """Asks, and gives all of the answer's text. Raises as `request` does."""
        answer = await self._ask(method, params)
        _result(answer)
        return answer.text

    @trio.lowlevel.enable_ki_protection
    async def _ask(self, method: str, params: Mapping[str, Json | JsonText]) -> Answer:
        self._check(protocol_of(method))
        async with self._room:
            self._raise_if_over()
            answers: list[Answer] = []
            woken = trio.Event()

            def take(answer: Answer) -> None:
                answers.append(answer)
                woken.set()

            number, payload = self._asking.ask(method, params, take)
            self._waiting.add(woken)
            try:
                await self.peer.send(LSPS0(payload=payload))
                await woken.wait()
            finally:
                self._waiting.discard(woken)
                self._asking.forget(number, trio.current_time())
        if not answers:
            self._raise_if_over()
        (answer,) = answers
        if answer.error is not None:
            raise answer.error
        return answer

    def _raise_if_over(self) -> None:
        if self._reason is not None:
            raise PeerClosed(self._reason)
        if self._left:
            raise trio.ClosedResourceError("the block of open_lsps has been left")

    async def read(self) -> None:
        """The block's task: takes what comes until nothing more does."""
        async for message in self._inbox:
            if message.type != LSPS0.type:  # of the others that are unknown
                continue
            note = self._asking.read(_payload(message), trio.current_time())
            if note is not None:
                try:
                    self._said.send_nowait(note)
                except trio.WouldBlock:
                    self._asking.counts["lost"] += 1
        self._reason = await self.peer.wait_closed()
        self.leave()

    def leave(self) -> None:
        """Nothing more comes."""
        self._left = True
        self._said.close()
        for woken in self._waiting:
            woken.set()


def _payload(message: AnyMessage) -> bytes:
    # Whatever class it is declared by where the manager has its messages from.
    return message.encode()[TYPE_BYTES:]


def _result(answer: Answer) -> dict[str, Json]:
    result: object = answer.result
    if not isinstance(result, dict):
        raise DecodeError("is no object", message="LSPS0", field="result")
    return cast("dict[str, Json]", result)


class Lsps1:
    """A channel is ordered. LspsError if the provider does not list LSPS1; else each raises as `Lsps.call` does."""

    def __init__(self, lsps: Lsps) -> None:
        self._lsps: Final = lsps

    async def get_info(self) -> OrderOptions:
        """What may be ordered."""
        await self._lsps.offered(1)
        return await self._lsps.call("lsps1.get_info", {}, OrderOptions)

    async def create_order(self, order: CreateOrder) -> Order:
        """Orders a channel. Each call is an order of its own, so after an error `get_order` knows no more than before.
        `Order.check` says whether what comes is what was asked."""
        await self._lsps.offered(1)
        return await self._lsps.call("lsps1.create_order", order.to_json(), Order)

    async def get_order(self, order_id: str) -> Order:
        """An order as it stands."""
        await self._lsps.offered(1)
        return await self._lsps.call("lsps1.get_order", GetOrder(order_id=order_id).to_json(), Order)


class Lsps2:
    """A channel opens with the first payment. LspsError if the provider does not list LSPS2; else each raises as
    `Lsps.call` does."""

    def __init__(self, lsps: Lsps) -> None:
        self._lsps: Final = lsps

    async def get_info(self, token: str | None = None) -> FeeMenu:
        """What opening costs: each line with its text, which is what `buy` sends back."""
        await self._lsps.offered(2)
        return FeeMenu.from_answer(await self._lsps.ask_text("lsps2.get_info", GetFees(token=token).to_json()))

    async def buy(self, opening_fee_params: OpeningFeeParams, payment_size_msat: int | None = None) -> JitChannel:
        """Takes a line of the menu. What comes goes into the invoice that the payer gets."""
        await self._lsps.offered(2)
        asked = Buy(opening_fee_params=opening_fee_params, payment_size_msat=payment_size_msat)
        return await self._lsps.call("lsps2.buy", asked.params(), JitChannel)


class Lsps5:
    """The provider wakes an app. LspsError if it does not list LSPS5; else each raises as `Lsps.call` does."""

    def __init__(self, lsps: Lsps) -> None:
        self._lsps: Final = lsps

    async def set_webhook(self, app_name: str, webhook: str) -> WebhookSet:
        """Has the provider post to a URL whatever an app is to hear of."""
        await self._lsps.offered(5)
        params = SetWebhook(app_name=app_name, webhook=webhook).to_json()
        return await self._lsps.call("lsps5.set_webhook", params, WebhookSet)

    async def list_webhooks(self) -> AppNames:
        """Which apps have one."""
        await self._lsps.offered(5)
        return await self._lsps.call("lsps5.list_webhooks", {}, AppNames)

    async def remove_webhook(self, app_name: str) -> None:
        """Removes an app's."""
        await self._lsps.offered(5)
        await self._lsps.request_with("lsps5.remove_webhook", RemoveWebhook(app_name=app_name).to_json())


@asynccontextmanager
async def open_lsps(peer: Peer, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> AsyncGenerator[Lsps]:
    """``async with open_lsps(peer) as lsps``: asks a liquidity provider, and hears what it says by itself.

    Nothing is asked of the peer's manager: it may know the message LSPS0 or not. `random_bytes`: where ids come from.

    RuntimeError if this peer has such a block already.
    """
    if "lsps" in peer.services:
        raise RuntimeError("this peer has a block of open_lsps already")
    kind: type[AnyMessage] = peer.messages.get(LSPS0.type) or UnknownMessage
    peer.services.add("lsps")
    failed: BaseException | None = None
    try:
        async with peer.subscribe(kind) as inbox, trio.open_nursery() as nursery:
            lsps = Lsps(peer, inbox, random_bytes)
            nursery.start_soon(lsps.read)
            try:
                yield lsps
            except BaseException as error:  # leaves bare, and not in the nursery's group
                failed = error
            lsps.leave()
            nursery.cancel_scope.cancel(reason="the block of open_lsps is left")
    finally:
        peer.services.discard("lsps")
    if failed is not None:
        raise failed


# A server.


@dataclass(frozen=True, slots=True, kw_only=True)
class LspsServerStatistics:
    """What a server was asked, and what it said, each a number of messages."""

    requests: int
    """That it could identify."""
    results: int
    errors: int
    """Answers to those that said no."""
    unread: int
    """Messages that could not be read; each was answered with -32700."""
    ignored: int
    """Answers, which no server is owed."""
    left: int
    """Requests whose peer has gone before there was an answer."""


@dataclass(slots=True)
class _Client:
    """A peer that has sent something."""

    in_flight: set[trio.CancelScope] = field(default_factory=set[trio.CancelScope])


class LspsServer(CustomMessageHandler):
    """A liquidity provider: answers requests with what its methods give. A custom handler for a manager that knows
    LSPS0: ``PeerManager(..., messages=BOLT | {LSPS0})``.

    `methods` are functions of a node id and the parameters, ``{"lsps2.get_info": get_info}``. They give a result, as a
    dict or a record, or raise LspsError, which the client gets. Parameters of the methods of LSPS1, 2 and 5 have been
    looked at; what is in them is a stranger's. A plain one answers at once. One that is async runs in the server's
    block, ``async with server``, ten of one peer at a time, and is cancelled when its peer goes. What
    ``lsps0.list_protocols`` gives follows from the methods. Any other exception of theirs is a bug, and raises as a
    handler's does.

    `advertise`: whether Init and node_announcement say that there is a provider here.
    """

    def __init__(self, methods: Mapping[str, Handler], *, advertise: bool = True) -> None:
        super().__init__()
        self._methods: Final[dict[str, Handler]] = {LIST_PROTOCOLS: self._list_protocols, **methods}
        self._advertise: Final = advertise
        self._clients: Final[dict[bytes, _Client]] = {}
        self._counts: Final[Counter[str]] = Counter()
        self._block: AbstractAsyncContextManager[None] | None = None
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<LspsServer, {len(self._methods)} methods, {len(self._clients)} clients>"

    # The manager's.

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named(FEATURE) if self._advertise else Features()

    def provided_node_features(self) -> Features:
        return Features.named(FEATURE) if self._advertise else Features()

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        self._forget(node_id)

    def peer_disconnected(self, node_id: bytes) -> None:
        self._forget(node_id)

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        if message.type != LSPS0.type:
            return
        payload = _payload(message)
        client = self._clients.setdefault(node_id, _Client())
        self.charge(node_id, 1 + len(payload) // BYTES_OF_UNIT)
        try:
            request = read_request(payload)
        except DecodeError:
            self._counts["unread"] += 1
            self._send(node_id, encode_error(None, LspsError(LspsCode.PARSE_ERROR)))
            return
        if request is None:
            self._counts["ignored"] += 1
            return
        self._counts["requests"] += 1
        try:
            found = self._call(node_id, request)
        except LspsError as error:
            self._refuse(node_id, request.id, error)
            return
        if inspect.isawaitable(found):
            self._start(node_id, client, request, found)
        else:
            self._answer(node_id, request, found)

    def notify(self, node_id: bytes, method: str, **params: Json) -> bool:
        """Sends a notification. False if this node is not connected, or has asked nothing: it is not sent then."""
        if node_id not in self._clients:
            return False
        self._send(node_id, encode_notification(method, params))
        return True

    def statistics(self) -> LspsServerStatistics:
        """A snapshot."""
        return LspsServerStatistics(**{name: self._counts[name] for name in LspsServerStatistics.__dataclass_fields__})

    # The block's.

    async def __aenter__(self) -> Self:
        """RuntimeError if it has a block already."""
        if self._block is not None:
            raise RuntimeError("this LspsServer has a block already")
        self._block = self._open()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        block, self._block = self._block, None
        return None if block is None else await block.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        failed: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            except BaseException as error:  # leaves bare, and not in the nursery's group
                failed = error
            finally:
                self._nursery = None
            nursery.cancel_scope.cancel(reason="the block of an LspsServer is left")
        if failed is not None:
            raise failed

    # Inside.

    def _list_protocols(self, node_id: bytes, params: dict[str, Json]) -> Record:
        return Protocols(protocols=protocols_of(self._methods))

    def _call(self, node_id: bytes, request: Request) -> Result | Awaitable[Result]:
        handler = self._methods.get(request.method)
        if handler is None:
            raise LspsError(LspsCode.METHOD_NOT_FOUND)
        if request.params is None:
            raise LspsError(LspsCode.INVALID_PARAMS, data={"unrecognized": []})
        check_params(request.method, request.params)
        return handler(node_id, request.params)

    def _start(self, node_id: bytes, client: _Client, request: Request, found: Awaitable[Result]) -> None:
        if self._nursery is None or len(client.in_flight) >= IN_FLIGHT:
            if isinstance(found, Coroutine):
                found.close()
            why = "it is not running" if self._nursery is None else f"{IN_FLIGHT} requests are in flight already"
            self._refuse(node_id, request.id, LspsError(LspsCode.INTERNAL_ERROR, why))
            return
        scope = trio.CancelScope()
        client.in_flight.add(scope)
        self._nursery.start_soon(self._wait_for, node_id, client, request, found, scope)

    async def _wait_for(
        self, node_id: bytes, client: _Client, request: Request, found: Awaitable[Result], scope: trio.CancelScope
    ) -> None:
        try:
            with scope:
                try:
                    result = await found
                except LspsError as error:
                    self._refuse(node_id, request.id, error)
                else:
                    self._answer(node_id, request, result)
        finally:
            client.in_flight.discard(scope)
        if scope.cancelled_caught:
            self._counts["left"] += 1

    def _answer(self, node_id: bytes, request: Request, found: Any) -> None:
        result = found.to_json() if isinstance(found, Record) else {} if found is None else found
        if not isinstance(result, Mapping):
            raise TypeError(f"{request.method} gives a dict or a record, not {type(result).__name__}")
        try:
            payload = encode_result(request.id, cast("Mapping[str, Json]", result))
        except PayloadTooLong as error:
            self._refuse(node_id, request.id, LspsError(LspsCode.INTERNAL_ERROR, str(error)))
            return
        self._counts["results"] += 1
        self._send(node_id, payload)

    def _refuse(self, node_id: bytes, number: str, error: LspsError) -> None:
        self._counts["errors"] += 1
        try:
            payload = encode_error(number, error)
        except PayloadTooLong:
            # What it would say is a stranger's words, as the names of parameters are.
            data: Json = {"unrecognized": []} if error.code == LspsCode.INVALID_PARAMS else None
            payload = encode_error(number, LspsError(error.code, data=data))
        self._send(node_id, payload)

    def _send(self, node_id: bytes, payload: bytes) -> None:
        self.push(SendMessages(node_id, LSPS0(payload=payload)))

    def _forget(self, node_id: bytes) -> None:
        client = self._clients.pop(node_id, None)
        if client is not None:
            for scope in [*client.in_flight]:
                scope.cancel(reason="the client has gone")
