"""Disks that refuse, fill up or lose power under the ledger and the file layer, and whole runs over them."""
