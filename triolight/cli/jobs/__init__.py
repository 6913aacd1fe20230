"""What the commands do that need Trio: a file for each of the same name in `cli/`, which says what it is asked."""
