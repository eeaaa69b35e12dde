"""The output folder: its lock, its tables, and the files in it that appear whole or not at all.

Owns every name under `OUT`, the columns of the tables people read, and how rows get from the ledger into Parquet. It
knows no provider and decides nothing about a row. Doors: `folder` (`OutputFolder`, its lock), `place` (where it may
lie), `shards` (those of one job side by side), `mirror` and `uploads` (an output in an object store), `integrity`
(whether ledger and files belong together), `publish` (`Publisher`), `parts` (Parquet files), `removal` (rows leave),
`rebuild` (a new ledger from the files), `files` (JSON files, what a kill left), `unreadable` (what is said of a file
that is damaged), `tables` (Arrow batches), `columns` (what they mean), `labelled` (labels as votes),
`answers` (whole answers, read back).
"""
