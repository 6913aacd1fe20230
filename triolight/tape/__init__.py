"""Tapes: everything that a driven PeerManager is told and answered, written down and played back. No Trio, no thread.

What is written and what is read of one thing stand side by side: a call's fields in `calls`, JSON in `values`.
"""
