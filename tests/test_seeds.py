"""BOLT 10: what a seed is asked for, and what is left of its answers; against a DNS server on loopback."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
import trio
import trio.testing

from tests.support import identity
from tests.support.dns_server import LOOPBACK, OF_BOLT_10, Answer, DnsServer, open_dns
from triolight import NodeAddress
from triolight.address import descriptor_of, is_reachable
from triolight.bech32 import bech32_decode, bech32_encode
from triolight.seeds import (
    ANSWER_SECONDS,
    COUNT,
    MAX_ADDRESSES,
    MAX_LOOKUPS,
    MAX_RECORDS,
    MAX_RESOLVERS,
    SeedError,
    has_route,
    node_label,
    node_of_label,
    seed_nodes,
    system_resolvers,
)

SEED = "seed.example"
QUESTION = "_nodes._tcp.seed.example."
RANDOM = bytes(range(32))


def test_a_node_id_as_a_label() -> None:
    node = bytes.fromhex("03acb0e75237d7b086e4fd3c7cf4da4e25856ceff03bf1fb5da213b37ac5001327")
    assert node_label(node) == OF_BOLT_10
    # A host name has no case.
    assert node_of_label(OF_BOLT_10) == node_of_label("LN1qwk" + OF_BOLT_10[6:].upper()) == node
    for number in range(1, 20):
        assert node_of_label(node_label(identity(number))) == identity(number)
    with pytest.raises(ValueError, match="not a node id"):
        node_label(bytes(33))


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (OF_BOLT_10[:-1] + "q", "the checksum is wrong"),
        ("www", "not bech32"),
        (bech32_encode("bc", bech32_decode(OF_BOLT_10)[1]), "not a node id in bech32"),
        (bech32_encode("ln", bech32_decode(OF_BOLT_10)[1][:-1]), "not a node id in bech32"),
        (bech32_encode("ln", [*bech32_decode(OF_BOLT_10)[1], 0]), "not a node id in bech32"),
        (bech32_encode("ln", [*bech32_decode(OF_BOLT_10)[1][:-1], 15]), "not a node id in bech32"),
        (bech32_encode("ln", [0] * 53), "not a point"),
    ],
)
def test_labels_without_a_node_id(label: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        node_of_label(label)


def target(number: int, seed: str = SEED) -> str:
    return f"{node_label(identity(number))}.{seed}."


def records(name: str, kind: str, *texts: str) -> list[dns.rrset.RRset]:
    """One set for each record: what is in one set, the library writes in an order of chance."""
    return [dns.rrset.from_text(name, 60, "IN", kind, text) for text in texts]


def reply(
    query: dns.message.Message,
    answer: Iterable[dns.rrset.RRset] = (),
    additional: Iterable[dns.rrset.RRset] = (),
    code: dns.rcode.Rcode = dns.rcode.NOERROR,
) -> dns.message.Message:
    made = dns.message.make_response(query)
    made.answer, made.additional = list(answer), list(additional)
    made.set_rcode(code)
    return made


def seed_that_says(*srv: str, addresses: dict[tuple[str, str], list[str]], sent_along: bool = False) -> Answer:
    """A seed with these SRV records, and addresses for (name, type), which it sends along or leaves to be asked for."""
    sets = [one for (name, kind), texts in addresses.items() for one in records(name, kind, *texts)]

    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        (question,) = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        if kind == "SRV":
            return reply(query, records(name, "SRV", *srv), sets if sent_along else ())
        return reply(query, records(name, kind, *addresses.get((name, kind), ())))

    return answer


async def ask(server: DnsServer, seed: str = SEED, **options: Any) -> list[NodeAddress]:
    return await seed_nodes(
        seed, random_data=RANDOM, resolvers=[server.address], **({"ipv4": True, "ipv6": True} | options)
    )


@pytest.mark.parametrize("sent_along", [False, True])
async def test_nodes_with_their_ports_and_addresses(sent_along: bool) -> None:
    answer = seed_that_says(
        f"10 10 9735 {target(2)}",
        f"10 10 6331 {target(1)}",
        addresses={
            (target(1), "A"): ["20.0.113.1"],
            (target(2), "A"): ["20.0.113.2"],
            (target(2), "AAAA"): ["2a00:db8::2"],
        },
        sent_along=sent_along,
    )
    with trio.fail_after(20):
        async with open_dns(answer) as server:
            assert await ask(server) == [
                NodeAddress(identity(2), "20.0.113.2"),
                NodeAddress(identity(2), "2a00:db8::2"),
                NodeAddress(identity(1), "20.0.113.1", 6331),
            ]
            follow_ups = [(target(number), kind, False) for number in (2, 1) for kind in ("A", "AAAA")]
            assert server.asked == [(QUESTION, "SRV", False), *([] if sent_along else follow_ups)]
            assert len(set(server.ids)) == len(server.ids)


async def test_the_ids_of_queries_follow_from_the_randomness() -> None:
    with trio.fail_after(20):
        async with open_dns(seed_that_says(f"1 1 1 {target(1)}", addresses={})) as server:
            assert await ask(server) == await ask(server) == []
            assert server.ids[:3] == server.ids[3:]
            await seed_nodes(SEED, random_data=bytes(32), resolvers=[server.address])
            assert server.ids[6:] != server.ids[:3]


@pytest.mark.parametrize(
    ("options", "conditions"),
    [
        ({}, ""),
        ({"count": COUNT, "realm": 0}, ""),
        ({"count": 10, "realm": 2}, "r2.n10."),
        ({"ipv6": False}, "a2."),
        ({"ipv4": False}, "a4."),
        ({"node_id": identity(1), "ipv6": False, "count": 1}, f"a2.l{node_label(identity(1))}.n1."),
    ],
)
async def test_conditions_are_labels(options: dict[str, Any], conditions: str) -> None:
    with trio.fail_after(20):
        async with open_dns(seed_that_says(addresses={})) as server:
            # No answer that meets the conditions is an answer.
            assert await ask(server, SEED + ".", **options) == []
            assert server.asked == [(f"_nodes._tcp.{conditions}seed.example.", "SRV", False)]


async def test_conditions_that_a_seed_does_not_keep_are_kept_here() -> None:
    answer = seed_that_says(
        *(f"1 1 9735 {target(number)}" for number in (1, 2, 3)),
        addresses={
            (target(number), kind): [address.format(number)]
            for number in (1, 2, 3)
            for kind, address in (("A", "20.0.113.{}"), ("AAAA", "2a00:db8::{}"))
        },
        sent_along=True,
    )
    with trio.fail_after(20):
        async with open_dns(answer) as server:
            assert {one.host for one in await ask(server, ipv6=False)} == {f"20.0.113.{n}" for n in (1, 2, 3)}
            assert {one.host for one in await ask(server, ipv4=False)} == {f"2a00:db8::{n}" for n in (1, 2, 3)}
            assert [one.node_id for one in await ask(server, count=1)] == [identity(1)] * 2
            assert [one.node_id for one in await ask(server, node_id=identity(2))] == [identity(2)] * 2


async def test_records_that_are_not_usable_are_left_out() -> None:
    good = target(1)
    no_point = f"{bech32_encode('ln', [0] * 53)}.seed.example."
    answer = seed_that_says(
        "1 1 9735 .",
        "1 1 9735 seed.example.",
        "1 1 9735 www.seed.example.",
        f"1 1 9735 {no_point}",
        f"1 1 9735 {node_label(identity(3))[:-1]}q.seed.example.",
        f"1 1 9735 {target(4, 'elsewhere.example')}",
        f"1 1 0 {target(5)}",
        f"1 1 9735 {target(6)}",
        f"1 1 9735 {target(7)}",
        f"1 1 9735 {good.upper()}",
        f"2 2 9735 {good}",
        addresses={
            **{
                (name, "A"): ["20.0.113.9"]
                for name in ("seed.example.", "www.seed.example.", no_point, target(4, "elsewhere.example"), target(5))
            },
            (target(6), "A"): ["127.0.0.1", "10.0.0.1", "192.168.1.1"],
            (target(6), "AAAA"): ["::1", "fe80::1"],
            (good, "A"): ["10.0.0.1", "20.0.113.1"],
        },
        sent_along=True,
    )
    with trio.fail_after(20):
        async with open_dns(answer) as server:
            assert await ask(server) == [NodeAddress(identity(1), "20.0.113.1")]
            # Of all of them, only the good name that came without addresses is asked for.
            assert [name for name, kind, _ in server.asked if kind != "SRV"] == [target(7)] * 2


NO_NODE_IS_THERE = [
    ("A", "0.0.0.1"),
    ("A", "10.0.0.1"),
    ("A", "100.64.0.1"),
    ("A", "127.0.0.1"),
    ("A", "169.254.0.1"),
    ("A", "172.16.0.1"),
    ("A", "192.168.0.1"),
    ("A", "203.0.113.1"),
    ("A", "198.18.0.1"),
    ("A", "224.0.0.1"),
    ("A", "255.255.255.255"),
    ("AAAA", "::"),
    ("AAAA", "::1"),
    ("AAAA", "::ffff:10.0.0.1"),
    ("AAAA", "fe80::1"),
    ("AAAA", "fd00::1"),
    ("AAAA", "ff02::1"),
    ("AAAA", "2001:db8::1"),
    ("AAAA", "2002:a00:1::1"),
    ("AAAA", "2001:0:1::1"),
]


@pytest.mark.parametrize("sent_along", [False, True])
async def test_where_no_node_can_be_dialled_is_left_out_and_takes_no_place(sent_along: bool) -> None:
    """Whatever comes first of a node's addresses, and of nodes."""
    bad = {kind: [address for of, address in NO_NODE_IS_THERE if of == kind] for kind in ("A", "AAAA")}
    addresses = {(target(1), kind): some for kind, some in bad.items()}
    addresses |= {(target(2), "A"): [*bad["A"], "20.0.113.2"], (target(2), "AAAA"): [*bad["AAAA"], "2a00:db8::2"]}
    addresses |= {(target(3), "A"): ["20.0.113.3"] * 9 + ["20.0.113.4"]}
    answer = seed_that_says(
        f"1 1 9735 {target(1)}",
        f"1 1 0 {target(4)}",
        f"1 1 9735 {target(2)}",
        f"1 1 9735 {target(3)}",
        addresses=addresses | {(target(4), "A"): ["20.0.113.4"]},
        sent_along=sent_along,
    )
    with trio.fail_after(20):
        async with open_dns(answer) as server:
            assert await ask(server, count=2) == [
                NodeAddress(identity(2), "20.0.113.2"),
                NodeAddress(identity(2), "2a00:db8::2"),
                NodeAddress(identity(3), "20.0.113.3"),
                NodeAddress(identity(3), "20.0.113.4"),
            ]


@pytest.mark.parametrize(
    ("routes", "options", "conditions", "hosts"),
    [
        ("AAAAA", {}, "", {"20.0.113.1", "2a00:db8::1"}),
        ("A", {}, "a2.", {"20.0.113.1"}),
        ("AAAA", {}, "a4.", {"2a00:db8::1"}),
        ("", {}, "", {"20.0.113.1", "2a00:db8::1"}),
        ("A", {"ipv6": True}, "", {"20.0.113.1", "2a00:db8::1"}),
        ("A", {"ipv4": False}, "a4.", {"2a00:db8::1"}),
        ("AAAA", {"ipv6": False}, "a2.", {"20.0.113.1"}),
        ("A", {"ipv4": False, "ipv6": True}, "a4.", {"2a00:db8::1"}),
    ],
)
async def test_only_what_this_machine_has_a_route_for(
    routes: str, options: dict[str, Any], conditions: str, hosts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"": (), "A": ("A",), "AAAA": ("AAAA",), "AAAAA": ("A", "AAAA")}[routes]
    monkeypatch.setattr("triolight.seeds.has_route", lambda kind: dns.rdatatype.to_text(kind) in known)
    answer = seed_that_says(
        f"1 1 9735 {target(1)}",
        addresses={(target(1), "A"): ["20.0.113.1"], (target(1), "AAAA"): ["2a00:db8::1"]},
        sent_along=True,
    )

    with trio.fail_after(20):
        async with open_dns(answer) as server:
            found = await seed_nodes(SEED, random_data=RANDOM, resolvers=[server.address], **options)
            assert {one.host for one in found} == hosts
            assert server.asked == [(f"_nodes._tcp.{conditions}seed.example.", "SRV", False)]


@pytest.mark.parametrize(
    ("error", "route"), [(None, True), (errno.ENETUNREACH, False), (errno.EADDRNOTAVAIL, False), (errno.EPERM, False)]
)
@pytest.mark.parametrize("kind", [dns.rdatatype.A, dns.rdatatype.AAAA])
def test_a_route_is_what_a_socket_that_sends_nothing_connects_by(
    kind: dns.rdatatype.RdataType, error: int | None, route: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Socket(socket.socket):
        def connect(self, address: Any, /) -> None:
            assert self.type == socket.SOCK_DGRAM
            assert not is_reachable(descriptor_of(address[0], 1)), "somebody's"
            if error is not None:
                raise OSError(error, "no way")

    monkeypatch.setattr("triolight.seeds.socket.socket", Socket)
    assert has_route(kind) is route


async def test_records_of_other_types_and_names_in_an_answer_do_not_count() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        return reply(
            query,
            [
                *records("other.example.", "SRV", f"1 1 9735 {target(1)}"),
                *records(QUESTION, "TXT", '"20.0.113.1"'),
                *records(QUESTION, "A", "20.0.113.1"),
            ],
            records(target(1), "A", "20.0.113.1"),
        )

    with trio.fail_after(20):
        async with open_dns(answer) as server:
            assert await ask(server) == []


async def test_a_follow_up_that_fails_loses_one_node_only() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message | bytes:
        (question,) = query.question
        name = question.name.to_text()
        if name == QUESTION:
            return reply(query, records(name, "SRV", *(f"1 1 9735 {target(number)}" for number in (1, 2, 3, 4))))
        if name == target(1):
            return reply(query, code=dns.rcode.SERVFAIL)
        if name == target(2):
            # Names that lead to each other.
            return reply(query, [*records(name, "CNAME", "x.example."), *records("x.example.", "CNAME", name)])
        if name == target(3):
            return reply(query, code=dns.rcode.NXDOMAIN)
        if question.rdtype == dns.rdatatype.AAAA:
            return reply(query)
        return reply(query, [*records(name, "CNAME", "x.example."), *records("x.example.", "A", "20.0.113.4")])

    with trio.fail_after(20):
        async with open_dns(answer) as server:
            assert await ask(server) == [NodeAddress(identity(4), "20.0.113.4")]


async def test_too_many_records_are_not_looked_at() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        (question,) = query.question
        name = question.name.to_text()
        if question.rdtype != dns.rdatatype.SRV:
            kind = dns.rdatatype.to_text(question.rdtype)
            hosts = [f"20.0.113.{n}" if kind == "A" else f"2a00:db8::{n}" for n in range(1, 100)]
            return reply(query, records(name, kind, *hosts))
        if not tcp:
            cut = reply(query)
            cut.flags |= dns.flags.TC
            return cut
        useless = [f"1 1 {port} www.seed.example." for port in range(1, MAX_RECORDS)]
        return reply(query, records(name, "SRV", *useless, f"1 1 1 {target(1)}", f"1 1 1 {target(2)}"))

    with trio.fail_after(20):
        async with open_dns(answer) as server:
            # The last one that is looked at, with as many addresses as are taken.
            assert await ask(server) == [NodeAddress(identity(1), f"20.0.113.{n}", 1) for n in range(1, 5)]
            assert MAX_ADDRESSES == 4
            assert server.asked[0] == (QUESTION, "SRV", False)
            assert server.asked[1] == (QUESTION, "SRV", True)


async def test_the_follow_ups_of_one_call_are_counted() -> None:
    names = [f"1 1 9735 {target(number)}" for number in range(1, MAX_RECORDS + 1)]
    with trio.fail_after(20):
        async with open_dns(seed_that_says(*names, addresses={})) as server:
            assert await ask(server, count=MAX_RECORDS) == []
            assert len([1 for _, kind, _ in server.asked if kind != "SRV"]) == MAX_LOOKUPS


async def test_only_so_many_resolvers_are_asked() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        return reply(query, code=dns.rcode.REFUSED)

    with trio.fail_after(20):
        async with open_dns(answer) as server:
            with pytest.raises(SeedError, match=r"^seed seed\.example: (127\.0\.0\.1: REFUSED(; )?){3}$"):
                await seed_nodes(SEED, random_data=RANDOM, resolvers=[server.address] * (MAX_RESOLVERS + 1))
            assert len(server.asked) == MAX_RESOLVERS


def _cut(query: dns.message.Message) -> dns.message.Message:
    made = reply(query)
    made.flags |= dns.flags.TC
    return made


@pytest.mark.parametrize(
    ("by_udp", "by_tcp", "words"),
    [
        (lambda query: reply(query, code=dns.rcode.SERVFAIL), None, "127.0.0.1: SERVFAIL"),
        (lambda query: reply(query, code=dns.rcode.NXDOMAIN), None, "there is no such name"),
        (_cut, lambda query: b"", "127.0.0.1: hung up"),
        (_cut, lambda query: b"\x00", "127.0.0.1: hung up"),
        (_cut, lambda query: b"\x00\x03abc", "127.0.0.1: answered with what is no answer"),
        (_cut, lambda query: reply(query, code=dns.rcode.SERVFAIL), "127.0.0.1: SERVFAIL"),
        (_cut, lambda query: reply(dns.message.make_query("other.example", "SRV", id=query.id)), "what is no answer"),
        (_cut, lambda query: query, "what is no answer"),
        (
            lambda query: reply(query, [*records(QUESTION, "CNAME", "a."), *records("a.", "CNAME", QUESTION)]),
            None,
            "CNAME chain is too long",
        ),
    ],
)
async def test_a_seed_without_an_answer(by_udp: Any, by_tcp: Any, words: str) -> None:
    with trio.fail_after(20):
        async with open_dns(lambda query, tcp: (by_tcp if tcp else by_udp)(query)) as server:
            with pytest.raises(SeedError, match=words) as caught:
                await ask(server)
            assert str(caught.value).startswith("seed seed.example: ")
            assert isinstance(caught.value, OSError)


async def test_the_next_resolver_is_asked_when_one_has_no_answer() -> None:
    good = seed_that_says(f"1 1 9735 {target(1)}", addresses={(target(1), "A"): ["20.0.113.1"]}, sent_along=True)
    with trio.fail_after(20):
        async with open_dns(lambda query, tcp: reply(query, code=dns.rcode.SERVFAIL)) as bad, open_dns(good) as server:
            both = [bad.address, server.address]
            found = await seed_nodes(SEED, random_data=RANDOM, resolvers=both)
            assert found == [NodeAddress(identity(1), "20.0.113.1")]
            assert len(bad.asked) == len(server.asked) == 1
            assert bad.ids != server.ids


async def test_forged_datagrams_are_passed_over() -> None:
    good = seed_that_says(f"1 1 9735 {target(1)}", addresses={(target(1), "A"): ["20.0.113.1"]}, sent_along=True)
    found: list[NodeAddress] = []
    with trio.fail_after(20), trio.socket.socket(type=trio.socket.SOCK_DGRAM) as resolver:
        await resolver.bind((LOOPBACK, 0))

        async def look_up() -> None:
            found.extend(await seed_nodes(SEED, random_data=RANDOM, resolvers=[resolver.getsockname()]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_up)
            wire, client = await resolver.recvfrom(65535)
            query = dns.message.from_wire(wire)
            answer = good(query, False)
            assert isinstance(answer, dns.message.Message)
            wrong_id = dns.message.from_wire(answer.to_wire())
            wrong_id.id ^= 1
            other = reply(dns.message.make_query("other.example", "SRV", id=query.id))
            for forged in (b"", b"noise", wrong_id.to_wire(), wrong_id.to_wire()[:40], other.to_wire(), wire):
                await resolver.sendto(forged, client)
            with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as stranger:
                await stranger.sendto(reply(query).to_wire(), client)
            await resolver.sendto(answer.to_wire(), client)
    assert found == [NodeAddress(identity(1), "20.0.113.1")]


async def test_nobody_listens_for_tcp() -> None:
    async with open_dns(lambda query, tcp: _cut(query), tcp=False) as server:
        with trio.fail_after(20), pytest.raises(SeedError, match=r"127\.0\.0\.1: Connection refused"):
            await ask(server)


@pytest.mark.parametrize("cut", [False, True])
async def test_cancelled_while_a_resolver_is_silent(cut: bool) -> None:
    by_tcp = trio.Event()

    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        if tcp:
            by_tcp.set()
        return _cut(query) if cut and not tcp else None

    with trio.fail_after(20):
        async with open_dns(answer) as server:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel() -> None:
                        await (by_tcp if cut else server.heard).wait()
                        scope.cancel()

                    nursery.start_soon(cancel)
                    await ask(server)
            assert scope.cancelled_caught
            assert [tcp for _, _, tcp in server.asked] == ([False, True] if cut else [False])


async def test_a_silent_resolver_is_given_up_and_not_asked_again(mock_clock: trio.testing.MockClock) -> None:
    good = seed_that_says(f"1 1 9735 {target(1)}", addresses={(target(1), "A"): ["20.0.113.1"]})
    async with open_dns(lambda query, tcp: None) as silent, open_dns(good) as server, trio.open_nursery() as nursery:

        async def let_time_pass() -> None:
            await silent.heard.wait()
            mock_clock.jump(ANSWER_SECONDS)

        nursery.start_soon(let_time_pass)
        both = [silent.address, server.address]
        found = await seed_nodes(SEED, random_data=RANDOM, resolvers=both, ipv4=True, ipv6=True)
        assert found == [NodeAddress(identity(1), "20.0.113.1")]
        assert len(silent.asked) == 1
        assert len(server.asked) == 3
        silent.heard = trio.Event()
        nursery.start_soon(let_time_pass)
        with pytest.raises(SeedError, match="no answer within 5 seconds"):
            await ask(silent)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": ""}, "not the name of a seed: ''"),
        ({"seed": "203.0.113.1"}, "not the name of a seed"),
        ({"seed": "a..b"}, "not the name of a seed"),
        ({"seed": "a" * 64}, "not the name of a seed"),
        ({"seed": "seed\\.example"}, "not the name of a seed"),
        ({"seed": ".".join(["a" * 60] * 4), "node_id": identity(1)}, "not the name of a seed"),
        ({"random_data": bytes(15)}, "random_data has 16 bytes or more, not 15"),
        ({"count": 0}, "1 to 100 nodes, not 0"),
        ({"count": MAX_RECORDS + 1}, "1 to 100 nodes, not 101"),
        ({"realm": 256}, "a realm is one byte, not 256"),
        ({"ipv4": False, "ipv6": False}, "neither is wanted"),
        ({"node_id": bytes(33)}, "not a node id"),
        ({"resolvers": [("resolver.example", 53)]}, "not a resolver: 'resolver.example', port 53"),
        ({"resolvers": [(LOOPBACK, 0)]}, "not a resolver: '127.0.0.1', port 0"),
    ],
)
async def test_arguments_that_do_not_fit(options: dict[str, Any], words: str) -> None:
    given_: dict[str, Any] = {"seed": SEED, "random_data": RANDOM, "resolvers": [(LOOPBACK, 1)]} | options
    with pytest.raises(ValueError, match=words):
        await seed_nodes(given_.pop("seed"), **given_)


async def test_the_systems_resolvers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# a comment\nnameserver 192.0.2.1\nnameserver 2a00:db8::53\noptions edns0\n")
    assert system_resolvers(str(path)) == [("192.0.2.1", 53), ("2a00:db8::53", 53)]
    path.write_text("search example\n")
    for bad in (path, tmp_path / "none"):
        with pytest.raises(SeedError, match="no resolver: "):
            system_resolvers(str(bad))
    with pytest.raises(SeedError, match="there is no resolver to ask"):
        await seed_nodes(SEED, random_data=RANDOM, resolvers=[])
    with trio.fail_after(20):
        async with open_dns(seed_that_says(addresses={})) as server:
            monkeypatch.setattr("triolight.seeds.system_resolvers", lambda: [server.address])
            assert await seed_nodes(SEED, random_data=RANDOM) == []
            assert len(server.asked) == 1
