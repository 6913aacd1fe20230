"""Gossip, and the graph that it makes: what the files of `triolight/gossip` promise."""
