"""Measures the whole command beside other programs in the same run: speed, memory, start, limits, polls, continuing.

Owns `scripts/bench`. It only starts programs and looks at them from outside, and imports nothing of promptmill, so that
what it needs itself is in no figure.
"""
