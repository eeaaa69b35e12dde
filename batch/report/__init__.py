"""Reads what is there and reports on it: an output folder, a row, variants compared, labels measured, an input scanned.

It prints nothing, and writes no file but one that was asked for. Doors: all its modules.
"""
