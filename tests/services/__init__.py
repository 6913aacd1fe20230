"""What a node does beside talking to its peers."""
