"""What an output folder tells afterwards: status, one row whole, comparisons of variants, scans of an input.

It only reads, and prints nothing. Doors: all its modules.
"""
