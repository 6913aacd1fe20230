"""Makes the golden files: ``python -m tests.golden.make``. For whom it may, and when, is the law of this file.

A golden file says what the code did when it was made. It is remade by no commit but one that changes words, answers or
the order of questions on purpose; that commit's message names the lines that are new, and says why. A commit that moves
code, or is only meant to make it faster or shorter, remakes nothing: if a golden test fails then, the code has changed
its behaviour. A life or a world may be added at any time, as long as the files of all others stay what they are.

Made twice, in two processes, the files are the same to the byte: all keys, seeds and times are fixed.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.golden import driven, in_trio, worlds
from tests.golden.listening import listen, to_text
from tests.support import MESSAGES
from triolight import Tape
from triolight.tape.tape import Kind
from triolight.testing.determinism import SEED_VARIABLE

HERE: Final = Path(__file__).parent
TAPES: Final = HERE / "tapes"
WORLDS: Final = HERE / "worlds"
KINDS: Final[tuple[Kind, ...]] = ("messages", "with_secrets")


def names() -> list[str]:
    """The golden tapes that there are."""
    return sorted(path.name.removesuffix(".questions") for path in TAPES.glob("*.questions"))


def read(name: str, kind: Kind) -> bytes:
    """A golden tape. Those with secrets are packed: most of them is what the noise has made of the others."""
    if kind == "messages":
        return (TAPES / f"{name}.tape").read_bytes()
    return gzip.decompress((TAPES / f"{name}.with_secrets.tape.gz").read_bytes())


def _tapes(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Each file and what is in it: the tapes of both kinds, and the questions of both, which are the same."""
    for kind in KINDS:

        def tape(name: str, kind: Kind = kind) -> Tape:
            return Tape(directory / f"{name}.{kind}", kind=kind)

        lives: tuple[Callable[[driven.Tapes], None], ...] = (*driven.LIVES, *in_trio.LIVES)
        for live in lives:
            live(tape)
    for path in sorted(directory.glob("*.messages")):
        yield f"{path.stem}.tape", path.read_bytes()
        yield f"{path.stem}.with_secrets.tape.gz", path.with_suffix(".with_secrets").read_bytes()
        yield f"{path.stem}.questions", to_text(listen(path, MESSAGES)[1]).encode()


def make() -> None:
    """Writes all golden files, in place of what is there."""
    if os.environ.get(SEED_VARIABLE):
        raise SystemExit(f"{SEED_VARIABLE} is set: golden files have seeds of their own")
    with tempfile.TemporaryDirectory() as temporary:
        made = dict(_tapes(Path(temporary)))
    _replace(TAPES, made)
    _replace(WORLDS, {f"{seed}.txt": worlds.carried(seed).encode() for seed in worlds.SEEDS})


def _replace(folder: Path, made: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        path = folder / name
        packed = name.endswith(".gz")
        # Another zlib packs the same in another way: that is no new tape.
        if not (packed and path.exists() and gzip.decompress(path.read_bytes()) == content):
            # Written anew: a tape's own file can be read by its owner alone, and these hold nobody's secrets.
            path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


if __name__ == "__main__":
    make()
