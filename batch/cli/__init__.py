"""The command line: commands, what they print, exit codes, and nothing else."""

from batch.cli.app import main

__all__ = ["main"]
