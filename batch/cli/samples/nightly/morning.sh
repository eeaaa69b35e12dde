#!/bin/sh
# What somebody wants to see in the morning: how the night went, what it cost, what was labelled, what failed.
set -eu
cd "$(dirname "$0")"
promptmill=@PROMPTMILL@
out=out/nightly

"$promptmill" status "$out"
echo
"$promptmill" cost "$out" --by day
echo
"$promptmill" labels "$out"
echo
"$promptmill" export "$out" failed.csv --failed      # as a table for whoever looks after them; empty on a good day
