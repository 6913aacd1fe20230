"""Golden records: what the manager and the shell did when these were made. Every later commit is held to them."""
