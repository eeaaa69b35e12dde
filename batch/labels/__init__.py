"""Labels: answers that are checked, typed values; what the votes for a row come to, and how good labels are.

Owns what a valid label is, how a service is asked for one, how one is read out of an answer, and the figures of
quality. It sends nothing and knows no row, no table and no run. Doors: `schema` (`LabelSchema`), `nodes` (JSON schemas
as trees), `loading` (from a job), `asking`, `answers`, `tries` (what follows an answer without a label),
`samples` (the votes of a row), `confidence` (how probable a label is), `votes` (`count_votes`), `quality` (`Pairs`).
"""
