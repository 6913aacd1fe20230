"""Tests of triolight.shell, a file for each of its files."""
