"""Benchmarks: each module is a command that prints a table and, with --out, writes it as JSON."""
