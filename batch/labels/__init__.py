"""Labels: what the votes for one row come to, and how good the labels of a table are.

It knows no request, no table and no file: labels come in as text. Doors: `votes` (`count_votes`), `quality` (`Pairs`).
"""
