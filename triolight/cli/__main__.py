"""``python -m triolight.cli``: as ``python -m triolight``. Python wants a file of this name."""

from triolight.cli import main

main()
