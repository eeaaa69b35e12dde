"""The wire: HTTP exchanges and the dialects that write requests and read answers. No retry, no sleep, no ledger."""
