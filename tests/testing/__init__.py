"""Tests of triolight.testing, a file for each of its files."""
