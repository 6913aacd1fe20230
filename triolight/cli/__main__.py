"""``python -m triolight.cli``: the command where its script is not on the path. Python wants a file of this name."""

from triolight.cli import main

main()
