"""Who may do what at a fleet's engine: the rules of the guide, TLS, an engine that lies, and what is never in one."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import logging
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import MESSAGES, ListLogger, Note, identity, join, make_manager
from tests.support.engines import Server, open_server, say
from tests.support.fleets import BACK, CONFIG, FRONT, OTHER, entry
from tests.support.processes import run
from tests.support.project import ROOT
from triolight import PeerManager, Tape, node_id, open_peer_nursery
from triolight.cluster.back import back_on
from triolight.cluster.bus import START, Change, EngineAway, Kept
from triolight.cluster.collecting import PART
from triolight.cluster.front import serve_front
from triolight.cluster.records import ENGINE
from triolight.cluster.redis import RedisBus, check_url, open_bus
from triolight.cluster.rules import Answer
from triolight.cluster.streams import Used
from triolight.cluster.wanted import FleetConfig

GUIDE = (ROOT / "docs" / "guide" / "fleet.md").read_text()
FOR_NOBODY = [
    ("CONFIG", "GET", "*"),
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("EVAL", "return 1", "0"),
    ("SHUTDOWN",),
    ("ACL", "LIST"),
    ("MONITOR",),
    ("SUBSCRIBE", "x"),
    ("GET", "other"),
    ("GET", "{another}:config"),
]
NOT_FOR_A_FRONT = [
    ("XADD", "{main}:down:eu-2", "*", "b", "lies"),
    ("XADD", "{main}:up:eu-2", "*", "b", "lies"),
    ("XREAD", "STREAMS", "{main}:up:eu-2", "0"),
    ("XREAD", "STREAMS", "{main}:down:eu-2", "0"),
    ("XREAD", "STREAMS", "{main}:told:eu-2", "0"),
    ("HSET", "{main}:front:eu-2", "fenced", "1"),
    ("HSET", "{main}:back", "token", "ours"),
    ("SET", "{main}:config", "ours"),
    ("SCRIPT", "LOAD", "return 1"),
]
NOT_FOR_A_KEEPER = [
    ("XREAD", "STREAMS", "{main}:up:eu-2", "0"),
    ("HSET", "{main}:back", "token", "ours"),
    ("SCRIPT", "LOAD", "return 1"),
]
NOT_FOR_A_COLLECTOR = [
    ("GET", "{main}:config"),
    ("XREAD", "STREAMS", "{main}:up:eu-2", "0"),
    ("XADD", "{main}:down:eu-2", "*", "b", "lies"),
]
LONG = CONFIG.replace(lease=50_000, engine_grace=50_000)
"""A lease that a busy machine does not outlast."""
NAMES = ("back", "front-eu-1", "front-eu-2", "keeper", "worker-a", "writer-b")


def users() -> str:
    """The rules as the guide has them, each with its user's name for a password."""
    (block,) = re.findall(r"```\n(user default off .*?)```", GUIDE, re.DOTALL)
    lines = re.sub(r"^user (\S+) on \S+", r"user \1 on >\1", block, flags=re.MULTILINE).splitlines()
    (front,) = [line for line in lines if "front-eu-1" in line]
    return "\n".join([*lines, front.replace("eu-1", "eu-2")]) + "\n"


@contextmanager
def a_server(*more: str, **files: bytes) -> Iterator[Server]:
    with open_server(starts=False, **files) as server:
        server.start(*more)
        yield server


def as_user(server: Server, name: str) -> str:
    return server.url.replace("unix://", f"unix://{name}@")


async def until_there(call: Callable[[], Awaitable[Any]]) -> None:
    with trio.fail_after(30):
        while True:
            try:
                await call()
            except EngineAway:
                await trio.sleep(0.02)  # a process that starts has no event for us
            else:
                return


async def test_each_role_does_its_work_under_the_guide_s_rules_and_nothing_else() -> None:
    with a_server("--aclfile", "users", users=users().encode()) as server:
        async with (
            open_bus(as_user(server, "back"), password="back") as back,
            open_bus(as_user(server, "front-eu-1"), password="front-eu-1") as one,
            open_bus(as_user(server, "front-eu-2"), password="front-eu-2") as two,
            open_bus(as_user(server, "keeper"), password="keeper") as keeper,
        ):
            await until_there(one.read_config)
            # Scripts are the back's to bring.
            with pytest.raises(EngineAway, match="a back loads them"):
                await one.back()
            assert await back.enter_back(BACK, LONG)
            await work(back, one, two, keeper)
            # An engine that was started again has lost them, and gets them from the back.
            server.kill()
            server.start("--aclfile", "users")
            await until_there(two.read_config)
            with pytest.raises(EngineAway, match="a back loads them"):
                await two.renew_front("eu-2", OTHER, 0)
            await back.renew_back(BACK)
            await two.renew_front("eu-2", OTHER, 0)
        for name in NAMES:
            forbidden = [*FOR_NOBODY]
            forbidden += NOT_FOR_A_FRONT if name == "front-eu-1" else NOT_FOR_A_KEEPER if name == "keeper" else []
            forbidden += NOT_FOR_A_COLLECTOR if name in ("worker-a", "writer-b") else []
            answers = await say(server, ("AUTH", name, name), *forbidden)
            assert answers[0] == b"+OK"
            assert [answer.split()[0] for answer in answers[1:]] == [b"-NOPERM"] * len(forbidden)


async def test_the_keeper_s_command_and_a_collector_under_the_guide_s_rules(tmp_path: Path) -> None:
    with a_server("--aclfile", "users", users=users().encode()) as server:
        async with (
            open_bus(as_user(server, "back"), password="back") as back,
            open_bus(as_user(server, "writer-b"), part=PART, password="writer-b") as writer,
            open_bus(as_user(server, "worker-a"), part=PART, password="worker-a") as worker,
        ):
            await until_there(lambda: writer.enter_back(BACK, LONG))
            assert await worker.read_config() == LONG
            assert await worker.enter_front("a", FRONT, BACK, "")
            assert [one.id for one in await worker.fronts()] == ["a"]
            await worker.append_up("a", FRONT, 0, 1, entry(0, b"heard"))
            assert await worker.claim("a", FRONT, identity(1), identity(2), 1, True) is Answer.TAKE
            (read,) = await writer.read_up("a", START, 0)
            await writer.consume_up("a", BACK, read.position, Used(len(read.data), 1))
            assert await back.enter_back(BACK, LONG)
        password = tmp_path / "password"
        password.write_text("keeper\n")
        shown = ("fleet", "show", "--engine", as_user(server, "keeper"), "--engine-password-file", password)
        code, lines, errors = await trio.to_thread.run_sync(run, *shown)
        assert (code, errors) == (0, "")
        assert [line.split(":")[0] for line in lines] == [
            f"fleet main, node {identity(1).hex()}, 0 nodes connected",
            "back",
            "no fronts",
            "collector, 1 nodes connected",
            "writer",
            "worker a",
            "engine",
        ]


async def work(back: RedisBus, one: RedisBus, two: RedisBus, keeper: RedisBus) -> None:
    """All that each of them is there for."""
    ours, theirs = sorted((identity(1), identity(2)))
    assert await one.read_config() == LONG
    assert await one.enter_front("eu-1", FRONT, BACK, "host:1")
    assert await two.enter_front("eu-2", OTHER, BACK, "host:2")
    await one.renew_front("eu-1", FRONT, 1)
    assert await one.claim("eu-1", FRONT, ours, theirs, 7, True) is Answer.TAKE
    assert (await one.append_up("eu-1", FRONT, 0, 1, entry(0, b"up"))).records == 1
    assert await two.claim("eu-2", OTHER, ours, theirs, 1, True) is Answer.TAKE_FROM
    await back.append_down("eu-1", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK))
    heard: list[bytes] = []
    position = START
    for _ in range(2):
        found = await one.read_down("eu-1", position, 1)
        heard += [data[1:17] for _, data in found]
        position = found[-1].position
        await one.consume_down("eu-1", FRONT, position, Used(sum(len(data) for _, data in found), len(found)))
    assert heard == [ENGINE, BACK]
    assert await one.read_down("eu-1", START, 0) == []
    (read,) = await back.read_up("eu-1", START, 0)
    change = Change(FRONT, 1, ((1, b"one"), (2, b"two")), ())
    await back.consume_up("eu-1", BACK, read.position, Used(len(read.data), 1), change)
    await back.consume_up("eu-1", BACK, "", Used(0, 0), change._replace(began=(), ended=(1,)))
    assert await back.kept("eu-1") == Kept(FRONT, 1, ((2, b"two"),))
    assert await one.follow_back("eu-1", FRONT, BACK)
    shown = {state.id: state for state in await keeper.fronts()}
    assert shown["eu-1"].up == shown["eu-1"].down == Used(0, 0)
    assert await keeper.claims() == 1
    assert await keeper.read_config() == LONG
    await two.release("eu-2", OTHER, theirs, 1)
    await one.leave_front("eu-1", FRONT)
    await back.fence("eu-1", FRONT, BACK)
    await back.forget_front("eu-1", FRONT, BACK, [theirs])
    assert [state.id for state in await back.renew_back(BACK)] == ["eu-2"]


async def test_what_a_front_tells_another_one_is_a_lost_claim_and_nothing_else() -> None:
    """One whose password was stolen may write there, and is not obeyed."""
    with a_server("--aclfile", "users", users=users().encode()) as server:
        async with (
            open_bus(as_user(server, "back"), password="back") as back,
            open_bus(as_user(server, "front-eu-2"), password="front-eu-2") as two,
        ):
            await until_there(lambda: back.enter_back(BACK, LONG))
            assert await two.enter_front("eu-2", OTHER, BACK, "")
            for token in (ENGINE, BACK):
                lie = entry(0, b"\x80\x01lie", token=token)
                answers = await say(
                    server, ("AUTH", "front-eu-1", "front-eu-1"), ("XADD", "{main}:told:eu-2", "*", "b", lie)
                )
                assert answers[1].startswith(b"$")
            assert await two.read_down("eu-2", START, 0) == []


async def test_no_secret_is_in_the_engine_in_a_log_or_on_a_tape(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key, logger, rules = hashlib.sha256(b"a node's secret").digest(), ListLogger(), users()
    passwords = {name: hashlib.sha256(name.encode()).hexdigest() for name in NAMES}
    for name, password in passwords.items():
        rules = rules.replace(f">{name} ", f"#{hashlib.sha256(password.encode()).hexdigest()} ")
    with a_server("--aclfile", "users", "--loglevel", "debug", users=rules.encode()) as server:
        async with (
            open_bus(as_user(server, "back"), password=passwords["back"]) as bus,
            open_bus(as_user(server, "front-eu-1"), password=passwords["front-eu-1"]) as other,
        ):
            await until_there(other.read_config)
            async with (
                back_on(bus, node_id(key), messages=MESSAGES, logger=logger) as back,
                back.subscribe(Note) as inbox,
            ):
                config = await other.read_config()
                assert config is not None
                wanted = FleetConfig(config)
                manager = PeerManager(wanted.handlers(), key, bytes([7]) * 32, logger, messages=wanted.messages)
                async with (
                    open_peer_nursery(manager, tape=Tape(tmp_path / "tape"), goodbye_deadline=0) as front,
                    open_peer_nursery(make_manager(2), goodbye_deadline=0) as far,
                    trio.open_nursery() as nursery,
                ):
                    serving = trio.Event()
                    nursery.start_soon(
                        lambda: serve_front(front, other, id="eu-1", told=lambda what, reason: serving.set())
                    )
                    await serving.wait()
                    ours, _ = await join(far, front)
                    await ours.send(Note(payload=b"what is said"))
                    peer, message = await anext(inbox)
                    await peer.send(message)
                    await peer.disconnect()
                    nursery.cancel_scope.cancel()
        server.kill()
        engine = b"".join(one.read_bytes() for one in server.directory.rglob("*") if one.is_file())
    log = "".join(map(repr, logger.records)) + caplog.text
    tape = (tmp_path / "tape").read_bytes()
    assert b"what is said" in engine
    assert b"what is said".hex().encode() in tape
    assert "ended" in log
    for place in (engine, tape, log.encode()):
        for hidden in (key, *map(str.encode, passwords.values())):
            for form in (hidden, hidden.hex().encode(), base64.b64encode(hidden), repr(hidden).encode()):
                assert form not in place


# TLS.


def certificate() -> tuple[bytes, bytes]:
    """Of 127.0.0.1, signed by itself, and its key."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an engine")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(secret, hashes.SHA256())
    )
    key = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), key


async def test_over_tls_with_the_guide_s_configuration() -> None:
    """A certificate that nobody vouches for is refused; plain text does not get through."""
    cert, key = certificate()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (conf,) = re.findall(r"```\n(bind .*?)```", GUIDE, re.DOTALL)
    conf = conf.replace("/etc/valkey/", "").replace("0.0.0.0", "127.0.0.1").replace("6379", str(port))
    files = {"engine.pem": cert, "engine.key": key, "ca.pem": cert, "users.acl": users().encode()}
    with a_server("--include", "guide.conf", **{"guide.conf": conf.encode(), **files}) as server:
        url = f"rediss://back@127.0.0.1:{port}"
        trusting = ssl.create_default_context(cadata=cert.decode())
        async with open_bus(url, tls=trusting, password="back") as bus:
            await until_there(lambda: bus.enter_back(BACK, LONG))
            assert await bus.read_config() == LONG
            memory = await bus.memory()
            assert (memory.most, memory.policy) == (128 << 20, "noeviction")
        for refused in (open_bus(url, password="back"), open_bus(f"redis://back@127.0.0.1:{port}", password="back")):
            async with refused as bus:
                with pytest.raises(EngineAway):
                    await bus.read_config()
        # The command trusts whom the environment says.
        asked = ("fleet", "show", "--engine", f"rediss://keeper@127.0.0.1:{port}")
        env = {**os.environ, "TRIOLIGHT_ENGINE_PASSWORD": "keeper"}
        code, _, errors = await trio.to_thread.run_sync(partial(run, *asked, env=env))
        assert (code, "the engine does not answer" in errors) == (3, True)
        env["SSL_CERT_FILE"] = str(server.directory / "ca.pem")
        code, lines, _ = await trio.to_thread.run_sync(partial(run, *asked, env=env))
        assert (code, lines[1].split(":")[0]) == (0, "back")
        async with open_bus(url, tls=trusting, password="wrong") as bus:
            with pytest.raises(EngineAway):
                await bus.read_config()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://engine.example", "wants rediss://"),
        ("redis://front@engine.example", "wants rediss://"),
        ("rediss://engine.example", "wants a user"),
        ("rediss://front@engine.example/0?ssl_cert_reqs=none", "no options"),
        ("redis://127.0.0.1?password=x", "no options"),
    ],
)
def test_an_engine_on_another_host_wants_tls_and_a_user(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_url(url)
    if "?" not in url:
        check_url(url, insecure=True)


def test_an_engine_here_wants_neither() -> None:
    for url in (
        "redis://127.0.0.1:6379/0",
        "redis://[::1]",
        "unix:///run/valkey/s?db=1",
        "rediss://back@engine.example/0",
    ):
        check_url(url)


# An engine that lies.

HELLO = b"%3\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$2\r\nid\r\n:1\r\n"
LIES = [
    b"+OK\r\n",
    b":-1\r\n",
    b"$-1\r\n",
    b"_\r\n",
    b"*0\r\n",
    b"*1\r\n$2\r\nOK\r\n",
    b"*3\r\n$2\r\nOK\r\n$3\r\nnan\r\n:99999999999999999999\r\n",
    b"*5\r\n$2\r\nOK\r\n$1\r\nx\r\n$3\r\ninf\r\n:1\r\n:1\r\n",
    b"*2\r\n$4\r\nHOLE\r\n$1\r\nx\r\n",
    b"%1\r\n$3\r\nkey\r\n*1\r\n*2\r\n$3\r\nnew\r\n$1\r\nb\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n_\r\n",
    b"-ERR no\r\n",
    b"-NOSCRIPT none\r\n",
    b",nan\r\n",
    b"(1" + b"0" * 5000 + b"\r\n",
    b">2\r\n+push\r\n+message\r\n" * 3000,
    b"$99999999999\r\n",
    b"\x00\xff garbage\r\n",
    b"*1\r\n" * 3000,
    b"",
]
CALLS: list[Callable[[RedisBus], Awaitable[Any]]] = [
    lambda bus: bus.read_config(),
    lambda bus: bus.back(),
    lambda bus: bus.fronts(),
    lambda bus: bus.claims(),
    lambda bus: bus.enter_front("one", FRONT, BACK, ""),
    lambda bus: bus.renew_front("one", FRONT, 1),
    lambda bus: bus.append_up("one", FRONT, 0, 1, b""),
    lambda bus: bus.append_down("one", FRONT, BACK, 0, 1, b""),
    lambda bus: bus.read_down("one", START, 0),
    lambda bus: bus.read_up("one", START, 0),
    lambda bus: bus.claim("one", FRONT, identity(1), identity(2), 1, True),
    lambda bus: bus.renew_back(BACK),
    lambda bus: bus.enter_back(BACK, LONG),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: repr(lie[:16]))
@pytest.mark.parametrize("greets", [True, False], ids=["greets", "does not greet"])
async def test_an_engine_that_says_anything(lie: bytes, greets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triolight.cluster.redis.CALL_SECONDS", 0.05)

    async def serve(stream: trio.SocketStream) -> None:
        # Whoever gives up may leave something unread, and then does not end but break.
        async with stream:
            answers = [HELLO if greets else lie]
            with suppress(trio.BrokenResourceError):
                async for _ in stream:
                    await stream.send_all(answers.pop() if answers else lie)
                    if not lie:
                        return

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        async with open_bus(f"redis://127.0.0.1:{listener.socket.getsockname()[1]}") as bus:
            for call in CALLS:
                try:
                    await call(bus)
                except EngineAway:
                    pass
        nursery.cancel_scope.cancel()
