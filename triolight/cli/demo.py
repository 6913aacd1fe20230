"""``triolight demo``: what it is asked, which is not much."""

from __future__ import annotations

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import verbose_option


@command(
    "demo",
    Exit.OK,
    Exit.FAILED,
    Exit.USAGE,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@verbose_option
def demo(verbose: int) -> None:
    """Show three peers at work, over real TCP within this machine.

    Nothing to set up, and nothing leaves the machine. Everything it says has been checked: it ends with 0 only if all
    of it happened.
    """
    from triolight.cli.jobs.demo import tell  # with Trio, which help and completion do without

    tell(verbose)
