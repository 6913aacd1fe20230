"""LSPS: what stands in its messages."""
