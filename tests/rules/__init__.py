"""What a BOLT demands of a node, and what a stranger may do to one: rules that no single file keeps."""
