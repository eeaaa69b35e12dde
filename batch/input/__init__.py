"""The input: files as rows, and the spill that keeps the rows of a run.

Owns which files an input path stands for, how Parquet, JSONL, CSV and batch files are read, and how columns get types.
It reads forwards, once; it knows no prompt, no ledger and no provider. Doors: `source` (`Source`), `batches` (what
comes out of it), `content` (the hash of a row's output columns), `spill` (the rows that were admitted).
"""
