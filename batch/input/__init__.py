"""Input files as rows: Parquet, JSONL and batch files, and the spill that keeps admitted rows.

It reads forwards, once; it knows no prompt, no ledger and no provider. Doors: `source` (`Source`), `batches` (what
comes out of it), `spill`.
"""
