"""The output folder: its lock, its tables, and the Parquet parts that appear whole or not at all.

It knows no provider. Doors: `folder` (`OutputFolder`), `publish` (`Publisher`), `parts` (files), `tables` (columns).
"""
