"""`promptmill doctor`: prints what of this machine, a job and its provider would stop a run, and the way out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import count, say, say_json, wrapped
from batch.core.errors import EXIT_OK, EXIT_REFUSED
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.job.job import Job
    from batch.plan.doctor import Finding
    from batch.providers.registry import Endpoint

_WORDS: Final = {"ok": "ok", "look": "look", "stop": "STOP"}
_BESIDE: Final = 22


def doctor(
    job: Annotated[Path | None, Parameter(negative=())] = None,
    /,
    *,
    output: jobs.OutPath = None,
    set_: jobs.Settings = (),
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """What of this machine, or of the folder, key and provider of a job, would stop a run, each with its way out.

    With a job, one request that is never billed goes to its provider (its list of models); without one, nothing is
    sent. Nothing is written. Ends with 2 when something would stop a run, else with 0.

    Args:
        job: job folder, or its job.toml; left out, only the machine is looked at.
        output: output folder instead of the job's own; relative to where you are.
        set_: change one key of the job, for example --set model.provider=simulator; may be repeated.
        json: one JSON object on stdout, for programs.
    """
    findings = list(_found(job, output, set_))
    if json:
        import msgspec

        say_json(msgspec.json.format(msgspec.json.encode({"findings": findings}), indent=2).decode())
    else:
        say(_lines(findings))
    return EXIT_REFUSED if any(finding.state == "stop" for finding in findings) else EXIT_OK


def _found(path: Path | None, output: Path | None, settings: tuple[str, ...]) -> Iterator[Finding]:
    from batch.core.errors import RefusedToStart
    from batch.plan import doctor
    from batch.plan.doctor import Finding

    yield from doctor.of_machine(os.environ)
    if path is None:
        yield doctor.keys_found(os.environ)
        return
    try:
        job = jobs.load(path, settings=settings, output=output)
    except RefusedToStart as exc:
        yield Finding("job", "stop", str(exc), "Correct it; promptmill check tells when it is right.")
        return
    found = doctor.endpoints_of(job, os.environ)  # once: a command that prints the key may take its time
    yield from doctor.of_job(job, os.environ, found[0][0])
    for endpoint, key in found:
        yield key
        if endpoint is not None:
            yield from _asked(job, endpoint)


def _asked(job: Job, endpoint: Endpoint) -> list[Finding]:
    """What a request to one address tells."""
    import anyio

    from batch.core.clock import Clock
    from batch.plan.doctor_provider import of_provider

    async def ask() -> list[Finding]:
        return [finding async for finding in of_provider(job, endpoint, Clock())]

    return anyio.run(ask)


def _lines(findings: list[Finding]) -> Iterator[str]:
    stops = sum(finding.state == "stop" for finding in findings)
    looks = sum(finding.state == "look" for finding in findings)
    said = [f"{count(stops, 'thing')} would stop a run"] if stops else []
    said += [f"{count(looks, 'thing')} to look at"] if looks else []
    yield f"doctor: {', '.join(said) or 'all is well'}"
    for finding in findings:
        first, *rest = clean(finding.text, lines=True).split("\n")
        lines = [line for text in (first, *rest) for line in wrapped(text, less=_BESIDE)] or [""]
        lines += wrapped(finding.way_out, less=_BESIDE) if finding.way_out else []
        yield f"  {_WORDS[finding.state]:<4}  {finding.area:<12}  {lines[0]}"
        yield from (f"{' ' * _BESIDE}{line}" for line in lines[1:])
