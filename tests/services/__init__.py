"""Tests of triolight.services, a file for each of its files."""
