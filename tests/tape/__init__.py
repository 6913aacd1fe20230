"""Tests of triolight.tape, a file for each of its files."""
