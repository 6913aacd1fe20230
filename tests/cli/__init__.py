"""Tests of the command, one for one with the files of `triolight.cli`."""
