"""Tests of triolight.manager, a file for each of its files; and of all of it as a state machine."""
