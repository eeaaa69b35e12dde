"""Money: what tokens cost, from dated price lists, in exact arithmetic.

Owns the price table. It knows no run and no row. Door: `prices` (`Prices`).
"""
