"""`python -m batch.simulator`: start the simulator from the command line. Owns the arguments and nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

from batch.simulator.server import serve
from batch.simulator.toml_table import ScenarioError


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and serve until a signal arrives.

    A scenario that cannot be used, or a port that is taken, ends the process with status 2 and a message on stderr.

    Args:
        arguments: the command line without the program's name; the process's own by default.
    """
    parser = argparse.ArgumentParser(prog="python -m batch.simulator", description="The provider on your own machine.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on loopback; 0 takes a free one")
    parser.add_argument("--scenario", type=Path, default=None, help="TOML file with latency, limits and faults")
    chosen = parser.parse_args(arguments)
    try:
        serve(port=chosen.port, scenario=chosen.scenario)
    except (ScenarioError, OSError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
