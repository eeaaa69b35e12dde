"""`batch.limits.endpoints`: where the next call goes."""

from __future__ import annotations

import anyio

from batch.core.clock import HandClock
from batch.job.endpointspec import EndpointSpec, ModelLimitSpec
from batch.limits.endpoints import PooledLimits
from batch.limits.lease import Lease
from batch.limits.limiter import Limiter
from tests.support.hand import by_hand


def limiter_of(clock: HandClock, *endpoints: EndpointSpec, concurrency: int = 12) -> tuple[Limiter, PooledLimits]:
    limiter = Limiter(clock, concurrency=concurrency)
    limiter.endpoints = endpoints
    limits = limiter.model("m")
    assert isinstance(limits, PooledLimits)
    return limiter, limits


def end(
    name: str, weight: float = 1.0, *, concurrency: int | None = None, requests_per_minute: float | None = None
) -> EndpointSpec:
    limits = ModelLimitSpec(concurrency=concurrency, requests_per_minute=requests_per_minute)
    return EndpointSpec(base_url=f"http://{name}/v1", weight=weight, limits=limits)


def taken(limiter: Limiter, count: int) -> list[Lease]:
    leases: list[Lease] = []

    async def main() -> None:
        for row in range(count):
            leases.append(await limiter.acquire("m", row))

    anyio.run(main)
    return leases


def places(leases: list[Lease]) -> dict[str, int]:
    names = [lease.place.endpoint for lease in leases if lease.place is not None]
    return {name: names.count(name) for name in sorted(set(names))}


def test_calls_go_where_there_is_room_in_proportion_to_the_weights() -> None:
    limiter, limits = limiter_of(HandClock(), end("a", weight=2.0), end("b"), end("c", concurrency=1))
    leases = taken(limiter, 8)
    assert places(leases) == {"a": 5, "b": 2, "c": 1} or places(leases) == {"a": 4, "b": 3, "c": 1}
    for lease in leases:
        lease.release("answered")
    assert [one.in_flight for one in limits.members] == [0, 0, 0]
    assert (limiter.in_flight, limits.in_flight) == (0, 0)


def test_each_address_keeps_its_own_pace() -> None:
    """One of 60 a minute gives one at a time, and the other all the rest."""
    limiter, _ = limiter_of(HandClock(), end("slow", requests_per_minute=60.0), end("free"))
    leases = taken(limiter, 6)
    assert places(leases) == {"free": 5, "slow": 1}


def test_departures_to_an_address_with_a_limit_are_evened_out_and_others_leave_at_once() -> None:
    """As those of a job with a limit are: a commit between grant and bytes must not bunch them."""
    limiter, _ = limiter_of(HandClock(), end("slow", requests_per_minute=60.0), end("free"))
    leave = {lease.place.endpoint: lease.may_depart() for lease in taken(limiter, 2) if lease.place is not None}
    assert leave == {"slow": False, "free": True}


def test_one_that_is_not_reached_is_left_alone_but_for_a_probe() -> None:
    clock = HandClock()
    limiter, limits = limiter_of(clock, end("dead"), end("alive"))
    limiter.expect(["m"])
    leases = taken(limiter, 8)
    for lease in leases:
        assert lease.place is not None
        lease.release("unreached" if lease.place.endpoint == "dead" else "answered", why="refused")
    assert limits.members[0].outage.ongoing
    assert limits.silent_for(clock.monotonic()) == 0, "another one answers"
    assert places(taken(limiter, 6)) == {"alive": 6}
    clock.advance(1.0)
    probe = taken(limiter, 3)
    assert places(probe) == {"alive": 2, "dead": 1}
    next(lease for lease in probe if lease.place is limits.members[0]).release("answered")
    assert not limits.members[0].outage.ongoing


def test_a_call_whose_turn_is_over_in_the_last_moment_is_counted_where_it_goes() -> None:
    """Between the look and the grant a slice of a shared budget ended: nobody is free, and the first one is out."""
    limiter, limits = limiter_of(HandClock(), end("out"), end("there"), end("full", concurrency=1))
    limits.members[0].leave_out(None)
    limits.members[2].in_flight = 1
    looks = iter([0.0])

    class Ending:
        in_flight_elsewhere = 0

        def wait(self, *_: object) -> float:
            return next(looks, 0.01)

        def take(self, *_: object) -> None:
            """Nothing is counted."""

    limits.members[1].rates.in_force = True
    limits.members[1].shared = Ending()  # type: ignore[assignment]  # as much of it as is asked
    (lease,) = taken(limiter, 1)
    assert places([lease]) == {"there": 1}
    lease.release("answered")
    assert (limiter.in_flight, limits.members[1].in_flight) == (0, 0)


def test_the_last_rows_are_not_spent_on_probes() -> None:
    clock = HandClock()
    limiter, limits = limiter_of(clock, end("dead"), end("alive"))
    limits.members[0].outage.ongoing = True
    clock.advance(10.0)
    assert places(taken(limiter, 4)) == {"alive": 4}


def test_one_that_is_left_out_for_a_time_is_asked_again_after_it() -> None:
    clock = HandClock()
    limiter, limits = limiter_of(clock, end("a"), end("b"))
    limits.members[0].leave_out(30.0)
    assert places(taken(limiter, 3)) == {"b": 3}
    before = limits.parked_until
    limits.members[1].leave_out(None)
    assert (before, limits.parked_until) == (None, clock.monotonic() + 30.0), "only when it is all of them"
    clock.advance(30.1)
    assert limits.wait(None) == 0
    assert places(taken(limiter, 2)) == {"a": 2}


def test_a_pause_of_one_holds_back_no_other() -> None:
    clock = HandClock()
    limiter, limits = limiter_of(clock, end("a"), end("b"))
    limiter.pause("m", 20.0, limits.members[0])
    assert places(taken(limiter, 3)) == {"b": 3}


def test_a_stale_grant_waits_for_its_own_address() -> None:
    """A commit took a second: the tokens are reserved anew where the call goes, and its slot stays."""

    async def main(clock: HandClock) -> tuple[float, int]:
        limiter, limits = limiter_of(clock, end("a", requests_per_minute=600.0))
        lease = await limiter.acquire("m", 1)
        await clock.sleep(1.0)
        await lease.depart()
        return lease.granted_at - clock.monotonic(), limits.members[0].in_flight

    late_s, in_flight = by_hand(main)
    assert (late_s, in_flight) == (0.0, 1)
