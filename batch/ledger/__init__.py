"""The ledger of one output folder: the SQLite file that is the truth until a part is published.

Owns what was admitted, sent, accepted, answered and settled, and where every row stands. One thread writes it, anybody
may read it. It knows no Parquet and no provider. Doors: `writer` (`Ledger`), `direct` (the same without an event loop),
`reader` (what the ledger says), `index` (the table, row by row), `levels` (where its rows lie), `published` (which
files there should be), `unpublished` (what is to be written to them), `pruning` (what need not be kept after that),
`copies` (rows that share an answer), `saved` (rows that wait for tasks), `waves` (rows that wait in batches), `orphans`
(lines of batches that were lost with a ledger), `paid` (answers that were paid for and are in no row), `effects` (what
tools did), `late` (answers after the end of their calls), `bounds` (what calls can come to), `totals` (sums over rows
and calls), `totals_texts` (what they mean), `model_sums` (those by model and lane), `schema` and `wal` (the file itself
and the log beside it).
"""
