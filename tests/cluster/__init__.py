"""Tests of `triolight.cluster`, a file for each of its files."""
