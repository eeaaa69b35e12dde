"""Labels: answers that are checked, typed values.

Owns what a valid label is, how a service is asked for one, and how one is read out of an answer. It sends nothing and
knows no row and no run. Doors: `schema` (`LabelSchema`), `nodes` (JSON
schemas as trees), `loading` (from a job), `asking`, `answers`, `tries` (what follows an answer without a label).
"""
