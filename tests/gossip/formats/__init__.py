"""Files of gossip, as other programs write them and as we do."""
