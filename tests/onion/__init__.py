"""Tests of the onion package."""
