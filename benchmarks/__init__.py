"""Benchmarks: plain scripts that print ratios against a floor timed in the same run. Nothing here is a test."""
