"""What the simulator counts: tokens, prices, bills, remembered prefixes, and the judge's sliding windows."""
