"""Money: what tokens cost, from dated price lists, in exact arithmetic.

Owns the price book, the form of price files and the search in them. It knows no run and no row. Doors: `prices`
(`Prices`: the search), `rates` (`Rates`: one line of a list), `pricekeys` (what a price file may
say), `advice` (what to say of an old price and of one that is missing).
"""
