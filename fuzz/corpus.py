"""Writes what fuzzing starts from, messages and steps as the strategies draw them: `python -m fuzz.corpus`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz.connection import DRAIN, GONE, MESSAGE, NOISE, SEND, SHORT, STEPS, TAKE, TICK, TWICE
from fuzz.ranges import CHANNELS
from triolight.messages import BOLT
from triolight.testing import strategies

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = 1500
LONGEST = 2048
quietly = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def steps() -> st.SearchStrategy[bytes]:
    """One step of `fuzz.connection`."""
    message = strategies.encoded_messages().filter(lambda data: len(data) <= LONGEST)
    byte = st.binary(min_size=1, max_size=1)
    return st.one_of(
        message.map(lambda data: bytes((MESSAGE,)) + len(data).to_bytes(2, "big") + data),
        st.binary(max_size=60).map(lambda data: bytes((SHORT, len(data))) + data),
        st.binary(max_size=60).map(lambda data: bytes((NOISE, len(data))) + data),
        byte.map(lambda one: bytes((TAKE,)) + one),
        st.binary(min_size=2, max_size=2).map(lambda two: bytes((SEND,)) + two),
        st.sampled_from((DRAIN, TICK, GONE, TWICE)).map(lambda kind: bytes((kind,))),
    )


def decode_inputs() -> list[bytes]:
    found: set[bytes] = {cls.type.to_bytes(2, "big") for cls in BOLT}

    @quietly
    @given(strategies.encoded_messages())
    def draw(data: bytes) -> None:
        if len(data) <= LONGEST:
            found.add(data)

    draw()
    return sorted(found)


def connection_inputs() -> list[bytes]:
    found: set[bytes] = set()
    # Settings 16: the handshake is done, and Init exchanged, before the first step.
    first = st.integers(0, 31).map(lambda settings: settings | 16) | st.integers(0, 15)

    @quietly
    @given(first, st.lists(steps(), max_size=min(STEPS, 12)))
    def draw(settings: int, drawn: list[bytes]) -> None:
        found.add(bytes((settings,)) + b"".join(drawn))

    draw()
    return sorted(found)


def lives() -> st.SearchStrategy[bytes]:
    """An input of `fuzz.graph`: small numbers choose something, most of the others nothing in particular."""
    byte = st.integers(0, 15) | st.integers(0, 15) | st.integers(0, 255)
    return st.tuples(st.integers(0, 3), st.lists(byte, max_size=400)).map(lambda drawn: bytes((drawn[0], *drawn[1])))


def listings() -> st.SearchStrategy[bytes]:
    """An input of `fuzz.ranges`."""
    return st.integers(0, CHANNELS).flatmap(lambda count: st.binary(min_size=4 + 4 * count, max_size=4 + 4 * count))


def drawn_inputs(strategy: st.SearchStrategy[bytes]) -> list[bytes]:
    found: set[bytes] = set()

    @quietly
    @given(strategy)
    def draw(data: bytes) -> None:
        found.add(data)

    draw()
    return sorted(found)


def write(name: str, inputs: list[bytes]) -> None:
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"{folder.name}: {len(inputs)} inputs")


if __name__ == "__main__":
    write("decode", decode_inputs())
    write("connection", connection_inputs())
    write("graph", drawn_inputs(lives()))
    write("ranges", drawn_inputs(listings()))
