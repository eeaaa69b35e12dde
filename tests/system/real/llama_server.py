"""llama.cpp's server over one model file, as a program: prints its root URL and serves until its input ends."""

from __future__ import annotations

import os
import sys

import xllamacpp


def main(model: str) -> None:
    """Serve on a free port of loopback: one slot, one thread, nothing kept between two requests."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.port = 0
    params.n_ctx = 1024
    params.n_parallel = 1
    # Two threads that wait for each other on two busy cores are ten times slower than one.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.endpoint_metrics = True
    params.warmup = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
