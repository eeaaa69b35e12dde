"""The ledger of one output folder: the SQLite file that is the truth until a part is published.

Owns what was admitted, sent, accepted, answered and settled, and where every row stands. One thread writes it, anybody
may read it. It knows no Parquet and no provider. Doors: `writer` (`Ledger`), `reader` (what the ledger says), `totals`
(sums over rows and calls).
"""
