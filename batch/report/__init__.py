"""Reads what is there and reports on it: the status of an output folder, one row, variants compared, an input scanned.

It writes nothing and prints nothing. Doors: all its modules.
"""
