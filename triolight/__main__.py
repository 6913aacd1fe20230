"""The command's first line: ``python -m triolight``, and what the console script calls.

It imports nothing at its top, and nothing of ours outside of `main`'s guard: Ctrl-C while click and the commands are
loaded ends the process with 130, without a traceback, as it does later.
"""


def main() -> None:
    """The `triolight` command. Leaves with SystemExit."""
    try:
        import os
        import signal

        # Raised in the middle of an import, KeyboardInterrupt may come out as anything, or as nothing.
        def leave(number: int, frame: object) -> None:
            os._exit(130)

        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where it is ignored
        if ours:
            signal.signal(signal.SIGINT, leave)
        from triolight.cli import main as command

        if ours:
            # Trio takes SIGINT over only where it finds Python's own handler.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command()
        finally:
            if ours:
                signal.signal(signal.SIGINT, leave)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
