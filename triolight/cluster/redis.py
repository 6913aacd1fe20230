"""RedisBus: an engine that speaks the Redis protocol, from 6.2 on (extra `cluster`). The only importer of coredis.

Every call that writes is one script, which compares tokens and marks before anything else; all keys of a fleet begin
with its name in braces, so that they share a slot. The scripts have the rules of `rules` in the engine's own language,
and a test holds the two together. The client's own retries are off: who appends carries `first_seq`, and asks again.
"""

from __future__ import annotations

import hashlib
import ssl
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import coredis
import trio
from coredis.exceptions import AuthorizationError, NoScriptError, RedisError
from coredis.retry import NoRetryPolicy

from triolight.cluster.answers import (
    HOSTILE,
    Memory,
    back_state,
    claim_answer,
    configuration,
    entries_of,
    front_state,
    hostile,
    is_displacement,
    kept_of,
    memory_of,
    number,
    renewal,
    used_of,
)
from triolight.cluster.bus import START, Appended, BackState, Change, EngineAway, EngineFull, Fenced, FrontState, Kept
from triolight.cluster.records import (
    ENGINE,
    NO_CONNECTION,
    Config,
    Displaced,
    encode_entry,
    encode_record,
    write_config,
)
from triolight.cluster.rules import CROSSING_SECONDS, Answer
from triolight.cluster.streams import Hole, Used

__all__ = ["RedisBus", "open_bus"]

ENTRIES_AT_ONCE: Final = 16
"""Entries of one read: at most 4 MiB, half a window, and as much again once they are taken apart."""
WITHOUT_ROOM: Final = "command not allowed when used memory"
"""What an engine says that has none."""
CALL_SECONDS: Final = 5.0
"""For an answer; after that the engine counts as away. A read waits for as long as it was told to on top of that."""

NO_ANSWER: Final = (
    RedisError,
    OSError,
    trio.TooSlowError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    *HOSTILE,
)
"""What the client raises in place of an answer."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
MOST_TOLD: Final = 10_000
"""Claims that a front has lost and has not heard of: more are gone, as the front is."""

PRELUDE: Final = """
local P = KEYS[1]
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end
local function front(name) return P .. ':front:' .. name end
local function up(name) return P .. ':up:' .. name end
local function down(name) return P .. ':down:' .. name end
local function below(name) return P .. ':back:' .. name end
local function kept(name) return P .. ':kept:' .. name end
local function told(name) return P .. ':told:' .. name end
local function claim(node) return P .. ':peer:' .. node end
local function may_act(name, token)
  local f = redis.call('HMGET', front(name), 'token', 'fenced')
  return f[1] == token and f[2] ~= '1'
end
local function is_back(token) return redis.call('HGET', P .. ':back', 'token') == token end
local function used(key)
  local u = redis.call('HMGET', key, 'size', 'records')
  return tonumber(u[1] or '0'), tonumber(u[2] or '0')
end
local function add(key, stream, data, count)
  redis.call('XADD', stream, '*', 'b', data)
  redis.call('HINCRBY', key, 'size', #data)
  redis.call('HINCRBY', key, 'records', count)
end
local function append(key, stream, first, count, data)
  local next = tonumber(redis.call('HGET', key, 'next') or '0')
  if first == next then
    add(key, stream, data, count)
    redis.call('HINCRBY', key, 'next', count)
  elseif first + count > next then
    return {'HOLE', tostring(next)}
  end
  return {'OK', used(key)}
end
local function consume(key, stream, position, size, records)
  if redis.call('HGET', key, 'at') == position then return end
  local ms, seq = string.match(position, '^(%d+)-(%d+)$')
  if ms then redis.call('XTRIM', stream, 'MINID', ms .. '-' .. tostring(tonumber(seq) + 1)) end
  redis.call('HSET', key, 'at', position)
  -- No more than there is: an engine that has lost its tail may not know of what is consumed.
  local there, known = used(key)
  redis.call('HINCRBY', key, 'size', 0 - math.min(size, there))
  redis.call('HINCRBY', key, 'records', 0 - math.min(records, known))
end
local function though_full(stream)
  -- An engine without room refuses a script's first write if that may need some; not what follows another one.
  redis.call('XTRIM', stream or P .. ':nothing', 'MINID', '0-0')
end
local function unclaim(name, token, node, number)
  local c = redis.call('HMGET', claim(node), 'front', 'token', 'number')
  if c[1] == name and c[2] == token and tonumber(c[3]) <= number then
    redis.call('DEL', claim(node))
    redis.call('DECR', P .. ':claims')
  end
end
"""

SCRIPTS: Final = {
    "enter_front": """
local name, token, back, address = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_back(back) then return {'NO'} end
if redis.call('HGET', front(name), 'token') == token then return {'OK'} end
redis.call('HSET', front(name), 'token', token, 'back', back, 'address', address, 'fenced', '0', 'peers', '0',
  'next', '0', 'alive', string.format('%.6f', now()))
if not redis.call('XREAD', 'COUNT', '1', 'STREAMS', up(name), '0') then
  redis.call('HSET', front(name), 'size', '0', 'records', '0')
end
redis.call('DEL', down(name), below(name), told(name))
redis.call('SADD', P .. ':fronts', name)
return {'OK'}
""",
    "renew_front": """
local name, token = ARGV[1], ARGV[2]
local b = redis.call('HMGET', P .. ':back', 'token', 'alive')
if not may_act(name, token) or not b[1] then return {'FENCED'} end
local at = now()
though_full(down(name))
redis.call('HSET', front(name), 'alive', string.format('%.6f', at), 'peers', ARGV[3])
return {'OK', b[1], string.format('%.6f', at - tonumber(b[2])), used(front(name))}
""",
    "append_up": """
if not may_act(ARGV[1], ARGV[2]) then return {'FENCED'} end
return append(front(ARGV[1]), up(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5])
""",
    "append_down": """
if not is_back(ARGV[6]) or not may_act(ARGV[1], ARGV[2]) then return {'FENCED'} end
return append(below(ARGV[1]), down(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5])
""",
    "consume_down": """
if not may_act(ARGV[1], ARGV[2]) then return {'FENCED'} end
though_full(down(ARGV[1]))
consume(below(ARGV[1]), down(ARGV[1]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
return {'OK'}
""",
    "consume_up": """
if not is_back(ARGV[2]) then return {'FENCED'} end
local name = ARGV[1]
if redis.call('EXISTS', front(name)) == 0 then return {'OK'} end
though_full()
if ARGV[3] ~= '' then consume(front(name), up(name), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])) end
if not ARGV[6] then
  redis.call('DEL', kept(name))
  return {'OK'}
end
if redis.call('HGET', kept(name), 'token') ~= ARGV[6] then redis.call('DEL', kept(name)) end
redis.call('HSET', kept(name), 'token', ARGV[6], 'seq', ARGV[7])
local began = tonumber(ARGV[8])
for i = 9, 8 + 2 * began, 2 do redis.call('HSET', kept(name), 'c' .. ARGV[i], ARGV[i + 1]) end
for i = 9 + 2 * began, #ARGV do redis.call('HDEL', kept(name), 'c' .. ARGV[i]) end
return {'OK'}
""",
    "follow_back": """
local name, token, back = ARGV[1], ARGV[2], ARGV[3]
if not may_act(name, token) then return {'FENCED'} end
if not is_back(back) then return {'NO'} end
if redis.call('HGET', front(name), 'back') ~= back then
  though_full(down(name))
  redis.call('HSET', front(name), 'back', back)
  redis.call('HSET', below(name), 'next', '0')
end
return {'OK'}
""",
    "kept": """
return redis.call('HGETALL', kept(ARGV[1]))
""",
    "claim": """
local name, token, node, number, inbound = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not may_act(name, token) then return {'FENCED'} end
local c = redis.call('HMGET', claim(node), 'front', 'token', 'number', 'inbound', 'since')
local at = now()
local answer = 'take'
if c[1] and may_act(c[1], c[2]) and not (c[1] == name and c[2] == token) then
  local crossing = c[4] ~= inbound and at - tonumber(c[5]) < tonumber(ARGV[7])
  local by_smaller = inbound == ARGV[6]
  if crossing and not by_smaller or ARGV[10] == '1' then return {'wait'} end
  answer = crossing and 'take from another front, where it waits' or 'take from another front'
  redis.call('XADD', told(c[1]), 'MAXLEN', '~', ARGV[9], '*', 'b',
    ARGV[8] .. struct.pack('>I4B', tonumber(c[3]), crossing and 1 or 0))
end
if not c[1] then redis.call('INCR', P .. ':claims') end
if c[1] == name and c[2] == token then number = math.max(tonumber(number), tonumber(c[3])) end
redis.call('HSET', claim(node), 'front', name, 'token', token, 'number', number, 'inbound', inbound,
  'since', string.format('%.6f', at))
return {answer}
""",
    "consume_told": """
if not may_act(ARGV[1], ARGV[2]) then return {'FENCED'} end
local ms, seq = string.match(ARGV[3], '^(%d+)-(%d+)$')
if ms then redis.call('XTRIM', told(ARGV[1]), 'MINID', ms .. '-' .. tostring(tonumber(seq) + 1)) end
return {'OK'}
""",
    "release": """
unclaim(ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]))
return {'OK'}
""",
    "leave_front": """
though_full(down(ARGV[1]))
if redis.call('HGET', front(ARGV[1]), 'token') == ARGV[2] then redis.call('HSET', front(ARGV[1]), 'fenced', '1') end
return {'OK'}
""",
    "enter_back": """
local token, lease = ARGV[1], tonumber(ARGV[2])
local b = redis.call('HMGET', P .. ':back', 'token', 'alive')
local at = now()
if b[1] and b[1] ~= token and at - tonumber(b[2]) < lease then return {'NO'} end
though_full()
redis.call('HSET', P .. ':back', 'token', token, 'alive', string.format('%.6f', at))
redis.call('SET', P .. ':config', ARGV[3])
return {'OK'}
""",
    "renew_back": """
if not is_back(ARGV[1]) then return {'FENCED'} end
though_full()
redis.call('HSET', P .. ':back', 'alive', string.format('%.6f', now()))
return {'OK'}
""",
    "leave_back": """
if is_back(ARGV[1]) then though_full() redis.call('HSET', P .. ':back', 'alive', '0') end
return {'OK'}
""",
    "back": """
local b = redis.call('HMGET', P .. ':back', 'token', 'alive')
if not b[1] then return {'NO'} end
return {'OK', b[1], string.format('%.6f', now() - tonumber(b[2]))}
""",
    "fronts": """
local found = {}
local at = now()
for _, name in ipairs(redis.call('SMEMBERS', P .. ':fronts')) do
  local f = redis.call('HMGET', front(name), 'token', 'back', 'alive', 'fenced', 'address', 'peers')
  if f[1] then
    local us, ur = used(front(name))
    local ds, dr = used(below(name))
    found[#found + 1] = {name, f[1], f[2], string.format('%.6f', at - tonumber(f[3])), f[4], f[5], tonumber(f[6]),
      us, ur, ds, dr}
  end
end
return found
""",
    "fence": """
if not is_back(ARGV[3]) then return {'FENCED'} end
though_full()
if redis.call('HGET', front(ARGV[1]), 'token') == ARGV[2] then redis.call('HSET', front(ARGV[1]), 'fenced', '1') end
return {'OK'}
""",
    "forget_front": """
local name, token = ARGV[1], ARGV[2]
if not is_back(ARGV[3]) then return {'FENCED'} end
for i = 4, #ARGV do unclaim(name, token, ARGV[i], math.huge) end
if redis.call('HGET', front(name), 'token') == token then
  redis.call('DEL', front(name), up(name), down(name), below(name), told(name))
  redis.call('SREM', P .. ':fronts', name)
end
if redis.call('HGET', kept(name), 'token') == token then redis.call('DEL', kept(name)) end
return {'OK'}
""",
}
"""What each call does, after `PRELUDE`."""
SOURCES: Final = {name: PRELUDE + script for name, script in SCRIPTS.items()}
DIGESTS: Final = {
    name: hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest() for name, source in SOURCES.items()
}


class RedisBus:
    """A `Bus` on an engine that speaks the Redis protocol. Made by `open_bus`."""

    def __init__(self, client: coredis.Redis[bytes], fleet: str, part: str = "") -> None:
        self._client: Final = client
        self._prefix: Final = f"{{{fleet}}}{part and ':'}{part}"

    async def _run(self, name: str, *arguments: bytes | str | int | float) -> list[Any]:
        """A script, by its hash. An engine that does not have it is given all of them, by who may: a back. Who may not
        waits for one, as the engine's rules have it."""
        async with _answer_within(CALL_SECONDS):
            try:
                answer = await self._client.evalsha(DIGESTS[name], keys=[self._prefix], args=arguments)
            except NoScriptError:
                await self._load()
                answer = await self._client.evalsha(DIGESTS[name], keys=[self._prefix], args=arguments)
        match answer:
            case [b"FENCED", *_]:
                raise Fenced(f"{name}: the engine says that somebody else has the place")
            case [b"HOLE", expected]:
                with hostile():
                    raise Hole(f"records from {number(expected)} on are missing")
            case list():
                return answer
            case _:
                raise EngineAway(f"{name}: the engine gives no list")

    async def _load(self) -> None:
        try:
            for source in SOURCES.values():
                await self._client.script_load(source)
        except AuthorizationError:
            raise EngineAway("the engine does not have our scripts: a back loads them") from None

    async def memory(self) -> Memory:
        """How full the engine is."""
        async with _answer_within(CALL_SECONDS):
            found = await self._client.info("memory")
        return memory_of(found)

    async def _refuse_eviction(self) -> None:
        """ValueError for an engine that makes room by throwing streams and claims away."""
        memory = await self.memory()
        if memory.most and memory.policy != "noeviction":
            raise ValueError(f"the engine's maxmemory-policy is {memory.policy}: it has to be noeviction")

    async def read_config(self) -> Config | None:
        async with _answer_within(CALL_SECONDS):
            data = await self._client.get(f"{self._prefix}:config")
        return None if data is None else configuration(data)

    async def back(self) -> BackState | None:
        return back_state(await self._run("back"))

    async def fronts(self) -> Sequence[FrontState]:
        return [front_state(one) for one in await self._run("fronts")]

    async def claims(self) -> int:
        async with _answer_within(CALL_SECONDS):
            found = await self._client.get(f"{self._prefix}:claims")
        with hostile():
            return number(found or 0)

    async def enter_front(self, front: str, token: bytes, back: bytes, address: str) -> bool:
        await self._refuse_eviction()
        return await self._run("enter_front", front, token, back, address) == [b"OK"]

    async def renew_front(self, front: str, token: bytes, peers: int) -> tuple[BackState, Used]:
        return renewal(await self._run("renew_front", front, token, peers))

    async def append_up(self, front: str, token: bytes, first_seq: int, count: int, data: bytes) -> Used:
        return used_of(await self._run("append_up", front, token, first_seq, count, data))

    async def read_down(self, front: str, after: str, wait: float) -> Sequence[Appended]:
        # In one stream the back writes, in the other whoever has won a claim; a position has one of each. What one call
        # gives is of one of them, so that who consumes it need not know which.
        down, told = f"{self._prefix}:down:{front}", f"{self._prefix}:told:{front}"
        at, told_at, *_ = (*after.split("/"), START)
        found = await self._read({down: at, told: told_at}, wait)
        entries: list[Appended] = []
        for position, data in found.get(told, ()):
            told_at = position
            if is_displacement(data):
                entries.append(Appended(f"{at}/{told_at}/told", data))
        for position, data in () if entries else found.get(down, ()):
            at = position
            entries.append(Appended(f"{at}/{told_at}", data))
        return entries

    async def _read(self, after: dict[str, str], wait: float) -> dict[str, list[Appended]]:
        block = max(1, int(wait * 1000)) if wait > 0 else None
        async with _answer_within(wait + CALL_SECONDS):
            found: Any = await self._client.xread(after, count=ENTRIES_AT_ONCE, block=block)
        return entries_of(found)

    async def consume_down(self, front: str, token: bytes, position: str, used: Used) -> None:
        at, *told = position.split("/")
        if len(told) == 2:
            await self._run("consume_told", front, token, told[0])
        else:
            await self._run("consume_down", front, token, at, used.size, used.records)

    async def follow_back(self, front: str, token: bytes, back: bytes) -> bool:
        return await self._run("follow_back", front, token, back) == [b"OK"]

    async def claim(
        self,
        front: str,
        token: bytes,
        our_node_id: bytes,
        node_id: bytes,
        number: int,
        inbound: bool,
        waited: bool = False,
    ) -> Answer:
        told = encode_entry(ENGINE, 0, [encode_record(NO_CONNECTION, Displaced(node_id=node_id, number=0, waits=0))])
        # Whether a newcomer that is inbound, or is not, was dialled by the smaller node id.
        smaller = int(node_id < our_node_id)
        found = await self._run(
            "claim",
            front,
            token,
            node_id,
            number,
            int(inbound),
            smaller,
            CROSSING_SECONDS,
            told[: -struct.calcsize(">IB")],
            MOST_TOLD,
            int(waited),
        )
        return claim_answer(found)

    async def release(self, front: str, token: bytes, node_id: bytes, number: int) -> None:
        await self._run("release", front, token, node_id, number)

    async def leave_front(self, front: str, token: bytes) -> None:
        await self._run("leave_front", front, token)

    async def enter_back(self, token: bytes, config: Config) -> bool:
        await self._refuse_eviction()
        return await self._run("enter_back", token, config.lease / 1000, write_config(config)) == [b"OK"]

    async def renew_back(self, token: bytes) -> Sequence[FrontState]:
        await self._run("renew_back", token)
        return await self.fronts()

    async def append_down(
        self, front: str, front_token: bytes, token: bytes, first_seq: int, count: int, data: bytes
    ) -> Used:
        return used_of(await self._run("append_down", front, front_token, first_seq, count, data, token))

    async def read_up(self, front: str, after: str, wait: float) -> Sequence[Appended]:
        up = f"{self._prefix}:up:{front}"
        return (await self._read({up: after}, wait)).get(up, [])

    async def consume_up(
        self, front: str, token: bytes, position: str, used: Used, change: Change | None = None
    ) -> None:
        more: list[bytes | int] = []
        if change is not None:
            more = [change.front_token, change.next_seq, len(change.began)]
            for conn, data in change.began:
                more += [conn, data]
            more += change.ended
        await self._run("consume_up", front, token, position, used.size, used.records, *more)

    async def kept(self, front: str) -> Kept | None:
        return kept_of(await self._run("kept", front))

    async def fence(self, front: str, front_token: bytes, token: bytes) -> None:
        await self._run("fence", front, front_token, token)

    async def forget_front(self, front: str, front_token: bytes, token: bytes, claimed: Sequence[bytes]) -> None:
        await self._run("forget_front", front, front_token, token, *claimed)

    async def leave_back(self, token: bytes) -> None:
        await self._run("leave_back", token)


@asynccontextmanager
async def _answer_within(seconds: float) -> AsyncGenerator[None]:
    """Whatever keeps an answer from us is one thing for who asks; but for being cancelled, which the client makes an
    error of its own."""
    try:
        with trio.fail_after(seconds):
            yield
    except ExceptionGroup as group:
        # A connection that was given up in the middle of its greeting, and what it had come to.
        if group.split(NO_ANSWER)[1] is not None:
            raise
        await trio.lowlevel.checkpoint_if_cancelled()
        raise EngineAway(str(group)) from None
    except NO_ANSWER as error:
        if isinstance(error, RedisError) and WITHOUT_ROOM in str(error):
            raise EngineFull(str(error)) from None
        await trio.lowlevel.checkpoint_if_cancelled()
        raise EngineAway(str(error) or type(error).__name__) from None


@asynccontextmanager
async def open_bus(
    url: str,
    fleet: str = "main",
    *,
    part: str = "",
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    insecure: bool = False,
) -> AsyncGenerator[RedisBus]:
    """``async with open_bus("rediss://user@host/0", "main") as bus``: a connection, made at its first use.

    `part`: of a fleet, with a back and fronts of its own: its collector's, ``record``.

    `url` is ``redis://``, ``rediss://`` (TLS) or ``unix://``. ValueError for another one, and for another host than
    this one without TLS or without a user, unless `insecure` says that something else keeps strangers out. `tls`: a
    context of your own.
    """
    parts = urlsplit(url)
    check_url(url, encrypted=tls is not None, insecure=insecure)
    if not fleet or not fleet.isprintable() or {*fleet} & {*"{}:"}:
        raise ValueError("a fleet's name is printable, without braces and colons")
    options: dict[str, Any] = {"retry_policy": NoRetryPolicy()}
    if password is not None:
        options["password"] = password
    if parts.scheme == "rediss" and tls is None:
        tls = ssl.create_default_context()  # the client's own checks no certificate unless it is told to
    if tls is not None:
        options["ssl_context"] = tls
    client = coredis.Redis.from_url(url, decode_responses=False, **options)
    failed: BaseException | None = None
    left = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_hold, client, left)
        try:
            yield RedisBus(client, fleet, part)
        except BaseException as error:  # leaves bare, and not in the nursery's group
            failed = error
        left.set()
    if failed is not None:
        raise failed


async def _hold(client: coredis.Redis[bytes], left: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    """The client's connections are there until the block is left, also while it is cancelled: whoever leaves a fleet
    says so then, under a deadline of its own."""
    with trio.CancelScope(shield=True):
        async with client:
            task_status.started()
            await left.wait()


def check_url(url: str, *, encrypted: bool = False, insecure: bool = False) -> None:
    """ValueError for an engine's URL that is none, or that lets others read along or come in."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"an engine's URL is redis://, rediss:// or unix://, not {parts.scheme}://")
    if {*parse_qs(parts.query)} - {"db"}:
        raise ValueError("an engine's URL has no options but ?db=")
    if parts.scheme == "unix" or parts.hostname in LOOPBACK or insecure:
        return
    if parts.scheme == "redis" and not encrypted:
        raise ValueError("an engine on another host wants rediss://: everything travels in plain text otherwise")
    if not parts.username:
        raise ValueError(
            "an engine on another host wants a user, as in rediss://USER@HOST/0: who may do what is its ACL's"
        )
