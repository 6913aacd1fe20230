"""Every command as it is written, those in groups by two words. No test here."""

from __future__ import annotations

import click

from triolight.cli import cli

COMMANDS = {
    f"{name} {inner}".rstrip()
    for name, command in cli.commands.items()
    for inner in (command.commands if isinstance(command, click.Group) else [""])
}
