"""What is fast, against what: each module is a command that prints a table and, with --out, writes JSON."""
