"""Batch files of the simulated provider: files, batches made of them, their lines, and what becomes of each."""
