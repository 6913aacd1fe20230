"""What the PeerManager is made of: each part owns its state and writes it alone. No I/O, no Trio, no clock of its own.

`triolight.peer_manager` puts the parts together, and is the only file that shows them to anybody.
"""
