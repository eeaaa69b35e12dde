"""What calls have cost: the book of output folders read again, in groups, at other prices, or held against a bill."""
