"""Tests of triolight.messages, a file for each of its files; and all messages of the BOLTs against their tables."""
