"""A graph in numbers, in pictures, and one channel or node of it as a page.

The graph may be a file of any format that is known, which is read in place. Nothing is left out for its age.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import click

from triolight.address import readable
from triolight.chains import BITCOIN, chain_name
from triolight.cli.exits import FailedError, cannot_use
from triolight.cli.jobs.plots import draw
from triolight.cli.output import data, progress, redraw, say
from triolight.features import Features
from triolight.gossip import display_alias
from triolight.gossip.formats import GRAPH, Item, Snapshot, Summary, count_checked, open_items, summarize
from triolight.gossip.formats.items import About, Damaged, NodeFacts, PolicyFacts
from triolight.gossip.formats.snapshot import FileChannel
from triolight.services import StoreError
from triolight.services.database import read_items
from triolight.text import printable
from triolight.wire import ShortChannelId

SHOWN_DAMAGES: Final = 10
"""Named on stderr; of the others there is the number."""
SHOWN_NODES: Final = 20
"""Of one alias."""
SHOWN_CHANNELS: Final = 100
"""Of one node, in words: the largest have thousands. --json has all."""
SHOWN_ALIASES: Final = 5
"""With some letters in them, where no node is called so."""
SHOWN_FEATURES: Final = 64
LEAST_BEGIN: Final = 6
"""Digits of an id that are enough to find a node by."""
WIDTH: Final = 100
"""Characters of a line of features."""
BITCOIN_SHOWN: Final = 10_000_000
"""Satoshis from which on the amount is shown in BTC too."""
BAR: Final = 40
"""Characters of the longest."""
PROGRESS_SECONDS: Final = 0.2


class Reading:
    """A file that is read, and on a terminal how far: on stderr, and not where the data goes to the same one."""

    def __init__(self, path: Path, parts: int = 1, looks: int = 0) -> None:
        """`parts`: how often it will be read, behind so many `looks` at its beginning."""
        self._path = path
        self._looks = looks
        self._parts = parts
        self._files: list[BinaryIO] = []
        self._on = sys.stderr is not None and sys.stderr.isatty() and not sys.stdout.isatty()
        self._next = time.monotonic() + PROGRESS_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def items(self) -> tuple[str, Iterator[Item]]:
        """Its format, and what is in it."""
        try:
            file = self._path.open("rb")
        except OSError as error:
            raise cannot_use(self._path, error, "GRAPH") from None
        self._files.append(file)
        try:
            # One that its program writes anew meanwhile goes on in the new file.
            name, items = open_items(file, lambda: self._path.open("rb"))
        except ValueError as error:
            raise not_ours(self._path, error) from None
        return name, read_items(self._path) if name == GRAPH else self._watched(file, items)

    def _watched(self, file: BinaryIO, items: Iterator[Item]) -> Iterator[Item]:
        before = len(self._files) - 1 - self._looks
        size = os.fstat(file.fileno()).st_size
        for count, item in enumerate(items):
            yield item
            if self._on and count % 256 == 0 and time.monotonic() >= self._next:
                self._next = time.monotonic() + PROGRESS_SECONDS
                done = min(1.0, (before + file.tell() / max(1, size)) / self._parts)
                redraw(f"\r[{'#' * round(30 * done):<30}] {done:4.0%}")

    def finish(self) -> None:
        """It is closed, and what was drawn goes."""
        for file in self._files:
            file.close()
        if self._on:
            redraw("\r\x1b[K")


def not_ours(path: Path, error: ValueError | StoreError) -> click.BadParameter:
    """A file that cannot be read as a graph."""
    words = str(error)
    return click.BadParameter(words if words.startswith(str(path)) else f"{path}: {words}", param_hint="GRAPH")


def chain_of(graph: Path) -> bytes | None:
    """Of a graph that is there."""
    if not graph.exists() or not graph.stat().st_size:
        return None
    try:
        first = next(read_items(graph))
    except StoreError as error:
        raise not_ours(graph, error) from None
    return first.chain_hash if isinstance(first, About) else None


def load(path: Path, chain: bytes | None) -> tuple[str, Snapshot]:
    """The format of a file and what it holds; what is damaged is named on stderr."""
    snapshot = Snapshot(chain)
    with Reading(path) as reading:
        try:
            name, items = reading.items()
            snapshot.take_all(items)
        except (ValueError, StoreError) as error:
            raise not_ours(path, error) from None
        except OSError as error:
            raise cannot_use(path, error, "GRAPH") from None
    if snapshot.chain_hash is None:
        snapshot.chain_hash = BITCOIN.chain_hash
    tell_left_out(path, snapshot.damaged, snapshot.left_out)
    return name, snapshot


def tell_left_out(path: Path, damaged: Sequence[Damaged], left_out: Mapping[str, int]) -> None:
    """On stderr: where the file is damaged, and what was not taken for other reasons."""
    for one in damaged[:SHOWN_DAMAGES]:
        progress(f"{path}: {one}")
    more = left_out.get("damaged", 0) - len(damaged[:SHOWN_DAMAGES])
    if more > 0:
        progress(f"{path}: {more:,} more places are damaged")
    for why, count in left_out.items():
        if why != "damaged":
            progress(f"{path}: left out {count:,}: {why}")


def show_stats(graph: Path, chain: bytes | None, as_json: bool) -> None:
    """A graph in numbers."""
    name, snapshot = load(graph, chain)
    found = summarize(snapshot, time.time())
    if as_json:
        fields = asdict(found) | {"checked": count_checked(snapshot), "left_out": dict(snapshot.left_out)}
        data(True, "", "stats", format=name, chain=chain_name(snapshot.chain_hash or b""), **fields)
    else:
        say("\n".join(_lines_of(name, snapshot, found)))


def _lines_of(name: str, snapshot: Snapshot, found: Summary) -> Iterator[str]:
    yield f"{name} of {chain_name(snapshot.chain_hash or b'')}"
    yield f"channels  {found.channels:>12,}   {found.one_sided:,} with one update, {found.without_update:,} without any"
    checked = count_checked(snapshot)
    output, spent, signatures = checked["output"], checked["spent"], checked["signatures"]
    if signatures and not output:
        yield "checked        signatures only: no output was looked up (graph sync --utxo)"
    elif output:
        yield f"checked   {output:>12,}   outputs confirmed, {spent:,} spent, {signatures:,} on signatures only"
    yield f"updates   {found.updates:>12,}   {found.disabled:,} disabled"
    yield (
        f"nodes     {found.nodes:>12,}   {found.announced_nodes:,} announced, "
        f"{found.nodes_without_address:,} of them without an address"
    )
    unknown = f", of {found.channels_without_capacity:,} channels unknown" if found.channels_without_capacity else ""
    bitcoin = f" ({found.capacity_sat / 10**8:,.2f} BTC)" if found.capacity_sat >= BITCOIN_SHOWN else ""
    yield f"capacity  {found.capacity_sat:>12,}   sat{bitcoin}{unknown}"
    yield f"parts     {found.components:>12,}   the largest of {found.largest_component:,} nodes"
    yield from _bars(
        f"channels of a node (most {found.largest_degree:,}, median {found.median_degree:,})", found.degrees
    )
    newest = "" if found.newest_timestamp is None else f" (newest {_date(found.newest_timestamp)})"
    yield from _bars(f"age of updates{newest}", found.ages)
    yield from _bars("addresses", found.addresses)
    named = {Features.describe(bit): count for bit, count in found.features.items()}
    yield from _bars("features of announced nodes", named)


def _bars(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    shown = {name: count for name, count in counts.items() if count}
    if not shown:
        return
    yield ""
    yield title
    most, width = max(shown.values()), max(map(len, shown))
    for name, count in shown.items():
        yield f"  {name:<{width}}  {'#' * max(1, round(BAR * count / most)):<{BAR}}  {count:,}"


def plot(graph: Path, folder: Path, chain: bytes | None, with_csv: bool, as_json: bool) -> None:
    """A graph in pictures."""
    from triolight.services.charts import graph_charts

    _, snapshot = load(graph, chain)
    draw(graph_charts(snapshot, time.time()), graph, folder, with_csv, as_json)


def show_one(graph: Path, what: str, chain: bytes | None, as_json: bool) -> None:
    """A channel or a node of it as a page."""
    _, snapshot = load(graph, chain)
    scid = _scid(what)
    if scid is not None and scid in snapshot.channels:
        _show_channel(snapshot, scid, as_json)
        return
    found = _nodes_called(snapshot, what)
    if not found:
        raise FailedError(f"{graph}: no channel and no node is called {printable(what, 80)}{_alike(snapshot, what)}")
    for number, node_id in enumerate(found[:SHOWN_NODES]):
        if number and not as_json:
            say("")
        _show_node(snapshot, node_id, as_json)
    if len(found) > SHOWN_NODES:
        progress(f"and {len(found) - SHOWN_NODES:,} more nodes of this name")


def _scid(what: str) -> ShortChannelId | None:
    try:
        if what.isascii() and what.isdigit():
            number = int(what)
            return ShortChannelId(number) if number < 1 << 64 else None
        return ShortChannelId.parse(what)
    except ValueError:
        return None


def _nodes_called(snapshot: Snapshot, what: str) -> list[bytes]:
    """By the id; else by exactly this alias; else by it in other letters; else by the beginning of the id."""
    if not what:
        return []
    nodes = sorted(snapshot.nodes | snapshot.announced.keys())
    begin = what.lower()
    if len(begin) == 66:
        return [one for one in nodes if one.hex() == begin]
    aliases = _aliases(snapshot)
    return (
        [one for one in nodes if aliases.get(one) == what]
        or [one for one in nodes if aliases.get(one, "").casefold() == what.casefold()]
        or [one for one in nodes if len(begin) >= LEAST_BEGIN and one.hex().startswith(begin)]
    )


def _aliases(snapshot: Snapshot) -> dict[bytes, str]:
    return {one: display_alias(snapshot.node(one).alias) for one in snapshot.announced}


def _alike(snapshot: Snapshot, what: str) -> str:
    """Aliases with these letters in them, for who remembers a part."""
    found = {alias for alias in _aliases(snapshot).values() if what.casefold() in alias.casefold()} if what else ()
    more = f" and {len(found) - SHOWN_ALIASES:,} more" if len(found) > SHOWN_ALIASES else ""
    return f"; there is {', '.join(sorted(found)[:SHOWN_ALIASES])}{more}" if found else ""


def _show_channel(snapshot: Snapshot, scid: ShortChannelId, as_json: bool) -> None:
    channel = snapshot.channels[scid]
    facts = channel.facts
    if as_json:
        data(True, "", "channel", **_channel_fields(snapshot, channel))
        return
    lines = [f"Channel {scid} ({int(scid)})", f"  capacity  {_sats(channel.capacity_sat)}"]
    lines += [f"  node {number}    {_named(snapshot, one)}" for number, one in enumerate(channel.node_ids, 1)]
    lines.append(
        f"  funded    in block {scid.block:,}, by output {scid.output} of its transaction {scid.transaction:,}"
    )
    if facts.chan_point:
        lines.append(f"  funding   {printable(facts.chan_point, 80)}")
    lines += _features_lines("  features  ", facts.features)
    if channel.checked:
        lines.append(f"  checked   {'signatures and output' if channel.checked == 'output' else 'signatures only'}")
    if channel.spent_height is not None:
        lines.append(f"  spent     in block {channel.spent_height:,}")
    for direction, policy in enumerate(channel.policies):
        lines += ["", f"  node {direction + 1} to node {2 - direction}: {_state(policy)}"]
        if policy is not None:
            lines += [f"    {line}" for line in _policy_lines(policy)]
    say("\n".join(lines))


def _policy_lines(policy: PolicyFacts) -> Iterator[str]:
    yield f"updated  {_date(policy.timestamp)} ({_age(policy.timestamp)})"
    yield f"fee      {policy.fee_base_msat:,} msat and {policy.fee_proportional_millionths:,} ppm"
    base, proportional = policy.inbound_fee_base_msat, policy.inbound_fee_proportional_millionths
    if base or proportional:
        yield f"inbound  {base:,} msat and {proportional:,} ppm, for what comes in over this channel"
    yield f"amounts  {policy.htlc_minimum_msat:,} to {policy.htlc_maximum_msat:,} msat"
    yield f"expiry   {policy.cltv_expiry_delta:,} blocks"


def _state(policy: PolicyFacts | None) -> str:
    return "no update" if policy is None else "disabled" if policy.disabled else "enabled"


def _channel_fields(snapshot: Snapshot, channel: FileChannel) -> dict[str, Any]:
    facts = channel.facts
    return {
        "short_channel_id": str(facts.short_channel_id),
        "channel_id": str(int(facts.short_channel_id)),
        "capacity_sat": channel.capacity_sat,
        "node_ids": [one.hex() for one in channel.node_ids],
        "aliases": [display_alias(snapshot.node(one).alias) for one in channel.node_ids],
        "features": facts.features.hex(),
        "chan_point": facts.chan_point,
        "checked": channel.checked or None,
        "spent_height": channel.spent_height,
        "policies": [None if one is None else _policy_fields(one) for one in channel.policies],
    }


def _policy_fields(policy: PolicyFacts) -> dict[str, Any]:
    fields = asdict(policy)
    del fields["short_channel_id"]
    return fields


def _show_node(snapshot: Snapshot, node_id: bytes, as_json: bool) -> None:
    node = snapshot.node(node_id)
    channels = [one for _, one in sorted(snapshot.channels.items()) if node_id in one.node_ids]
    capacity = sum(one.capacity_sat or 0 for one in channels)
    if as_json:
        ids = [str(one.facts.short_channel_id) for one in channels]
        data(True, "", "node", **_node_fields(node), channels=ids, capacity_sat=capacity)
        return
    lines = [f"Node {node_id.hex()}"]
    if node.alias or node.timestamp:
        lines.append(f"  alias      {display_alias(node.alias)}")
        lines.append(f"  color      #{node.rgb_color.hex()}")
        lines.append(f"  announced  {_date(node.timestamp)} ({_age(node.timestamp)})")
    else:
        lines.append("  has announced nothing")
    lines += [f"  address    {readable(one)}" for one in node.addresses]
    if node.timestamp and not node.addresses:
        lines.append("  address    none")
    lines += _features_lines("  features   ", node.features)
    unknown = sum(one.capacity_sat is None for one in channels)
    known = capacity if not unknown or unknown < len(channels) else None
    lines.append(f"  channels   {len(channels):,}, of {_sats(known)}")
    if 0 < unknown < len(channels):
        lines.append(f"             and {unknown:,} whose capacity is unknown")
    for channel in channels[:SHOWN_CHANNELS]:
        lines += ["", *_of_node(snapshot, channel, node_id)]
    if len(channels) > SHOWN_CHANNELS:
        lines += ["", f"  and {len(channels) - SHOWN_CHANNELS:,} more channels"]
    say("\n".join(lines))


def _of_node(snapshot: Snapshot, channel: FileChannel, node_id: bytes) -> Iterator[str]:
    out = channel.node_ids.index(node_id)
    other = _named(snapshot, channel.node_ids[1 - out])
    yield f"  {channel.facts.short_channel_id}  {_sats(channel.capacity_sat)}, with {other}"
    for word, direction in (("out", out), ("in", 1 - out)):
        policy = channel.policy(direction)
        fee = ""
        if policy is not None:
            fee = f", {policy.fee_base_msat:,} msat and {policy.fee_proportional_millionths:,} ppm"
            fee += f", updated {_age(policy.timestamp)}"
        yield f"    {word:<3}  {_state(policy)}{fee}"


def _node_fields(node: NodeFacts) -> dict[str, Any]:
    return {
        "node_id": node.node_id.hex(),
        "alias": display_alias(node.alias),
        "color": f"#{node.rgb_color.hex()}",
        "timestamp": node.timestamp,
        "features": node.features.hex(),
        "addresses": [readable(one) for one in node.addresses],
    }


def _named(snapshot: Snapshot, node_id: bytes) -> str:
    alias = display_alias(snapshot.node(node_id).alias)
    return f"{node_id.hex()} {alias}".rstrip()


def _features_lines(title: str, features: bytes) -> list[str]:
    if not features:
        return []
    words = Features.from_bytes(features).listed(SHOWN_FEATURES)
    return textwrap.wrap(words, WIDTH, initial_indent=title, subsequent_indent=" " * len(title), break_long_words=False)


def _sats(capacity: int | None) -> str:
    if capacity is None:
        return "capacity unknown"
    return f"{capacity:,} sat" + (f" ({capacity / 10**8:,.2f} BTC)" if capacity >= BITCOIN_SHOWN else "")


def _date(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _age(timestamp: int) -> str:
    seconds = time.time() - timestamp
    if seconds < 0:
        return "in the future"
    for name, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size):,} {name} ago"
    return "just now"
