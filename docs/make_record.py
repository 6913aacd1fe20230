"""Makes docs/record.md from the tables of a record and of its export. Run it when they change: a test does.

python docs/make_record.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from triolight.services.reading import EXPORT_TABLES
from triolight.services.record import RECORD_TABLES, SCHEMA, VIEW

PAGE: Final = Path(__file__).parent / "record.md"
OPENING: Final = f"""\
# What a record holds

A record is an SQLite file, of `application_id` 0x{SCHEMA.application_id:08x} (`TRLR`) and `user_version`
{SCHEMA.version}; whatever reads SQLite reads it, also while it is written. [A data set](guide/data_set.md) says how
one is made. All times are nanoseconds since 1970: the wall's clock at the start, and a monotonic one since, so that no
step of the wall's clock moves them; where it was put back between two runs, the second one begins right behind the
first.

A record may have several files: `seen.db`, then `seen.2.db`, `seen.3.db`, each whole by itself. Ids are of one file;
from one to another a message is known by its `hash`, a peer by its `node_id`.

Nothing in it was verified: a signature may be false, a channel may not exist.

"""
META: Final = """\
`meta` has keys and values: when the file was made and by what, which segment it is, and whether it is being written.\
"""
EXPORT: Final = """\
## Its export

`triolight record export` makes a file of each of these tables, in CSV (bytes in hex; yes and no as 1 and 0; empty
where there is nothing) and in Parquet (zstd). All files of a record are one there, and the ids are those of the export.

"""


def page() -> str:
    parts = [OPENING]
    for table in RECORD_TABLES:
        rows = ((f"`{one.name}`", one.type, one.words) for one in table.columns)
        parts.append(f"## `{table.name}`\n\n{table.words}\n\n{_table(('column', 'type', 'what'), rows)}\n")
    parts.append(f"## Beside these\n\n{META} The view `delay` is\n\n```sql\n{VIEW};\n```\n\n{EXPORT}")
    for made in EXPORT_TABLES:
        rows = ((f"`{one.name}`", one.kind, one.words) for one in made.columns)
        parts.append(f"### `{made.name}`\n\n{made.words}\n\n{_table(('column', 'kind', 'what'), rows)}\n")
    return "".join(parts).rstrip("\n") + "\n"


def _table(head: tuple[str, str, str], rows: Iterable[tuple[str, str, str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name}: {len(RECORD_TABLES)} tables\n")
