"""What tokens cost: dated price lists and exact arithmetic.

It knows no run and no row. Door: `prices` (`Prices`).
"""
