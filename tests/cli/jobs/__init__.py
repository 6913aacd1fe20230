"""Tests of triolight.cli.jobs, where a command is not what is tested."""
