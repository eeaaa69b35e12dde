"""Scenario files: what they may say, and what is said about a wrong one."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from batch.simulator.batches.form import Rules
from batch.simulator.dialects.stream import Slices
from batch.simulator.limits import Change, Limit
from batch.simulator.scenario import Scenario, load, parse
from batch.simulator.toml_table import ScenarioError

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """
seed = 11
time_factor = 0.5
mode = "2024"
models = ["glm-4", "glm-4-air"]
gzip = true
cached_prefix = true
refuse_duplicates = true
idle_close_s = 30
keys = { reader = "secret" }
strict_jwt = true
escaped_arguments = true

[latency]
chat_ms = [1, 2]
task_ms = [3, 4.5]
batch_ms = [6, 7]
submit_ms = [5, 6]
poll_ms = [7, 8]
per_token_ms = 0.25
first_chunk_ms = [9, 10]
chunk_ms = [11, 12]
chunk_tokens = 3

[stream]
chunks = 200
obfuscation = true

[limits]
in_flight = 50
rpm = 600
tpm = 200_000
burst_s = 1

[limits.models."glm-4-air"]
in_flight = 5

[[limits.change]]
after_s = 60
rpm = 300
model = "glm-4-air"

[[limits.change]]
after_s = 30.5
in_flight = 20

[batches]
window_s = 3600
lines = 10
file_bytes = 1000
enqueued_lines = 20
enqueued_tokens = 5000

[[fault]]
behaviour = 34
rate = 0.05

[[fault]]
behaviour = 28
rows = ["urgent", 3]
first = 2
model = "glm-4"
route = "poll"
status = 503

[[fault]]
behaviour = 28
"""


def test_every_key_is_read() -> None:
    """A file with all keys comes out as it went in."""
    scenario = parse(tomllib.loads(WHOLE))
    assert (scenario.seed, scenario.time_factor, scenario.mode, scenario.models) == (
        11,
        0.5,
        "2024",
        ("glm-4", "glm-4-air"),
    )
    assert scenario.gzip
    assert scenario.cached_prefix
    assert scenario.refuse_duplicates
    assert (scenario.idle_close_s, scenario.keys, scenario.burst_s) == (30, {"reader": "secret"}, 1.0)
    assert scenario.latency.task_ms == (3.0, 4.5)
    assert scenario.latency.per_token_ms == 0.25
    assert scenario.limit == Limit(50, 600, 200_000)
    assert scenario.model_limits == {"glm-4-air": Limit(5)}
    assert scenario.limit_changes == (Change(30.5, Limit(20)), Change(60, Limit(None, 300), "glm-4-air"))
    assert (scenario.latency.first_chunk_ms, scenario.latency.chunk_ms) == ((9, 10), (11, 12))
    assert (scenario.slices, scenario.obfuscation, scenario.escaped_arguments) == (Slices(3, 200), True, True)
    assert scenario.strict_jwt
    first, second, third = scenario.faults
    assert (first.behaviour, first.rate, first.routes) == (
        34,
        0.05,
        ("chat", "submit", "poll", "upload", "create", "batch", "content", "cancel"),
    )
    assert scenario.batches == Rules(3600.0, 10, 1_000, 20, 5_000)
    assert scenario.latency.batch_ms == (6.0, 7.0)
    assert (second.rows, second.first, second.routes) == (("urgent", 3), 2, ("poll",))
    assert (first.model, second.model) == (None, "glm-4")
    assert second.options == {"status": 503}
    assert (second.salt, third.salt, third.options) == (0, 1, {})


def test_an_empty_scenario_is_a_healthy_provider() -> None:
    """No faults, no limits, any key and model, the latencies of the design."""
    scenario = parse({})
    assert scenario == Scenario()
    assert (scenario.latency.chat_ms, scenario.latency.task_ms) == ((20, 60), (100, 300))
    assert scenario.batches == Rules(86_400.0, 50_000, None, None, None)
    assert (scenario.limit, scenario.faults, scenario.models, scenario.keys) == (Limit(), (), None, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sed = 7", "sed = 7: unknown key. Did you mean seed?"),
        ("zzzzzz = 7", "zzzzzz = 7: unknown key. Known here: batches, cached_prefix, escaped_arguments, fault,"),
        ("seed = 'x'", "seed = 'x': must be a whole number of at least 0"),
        ("seed = true", "seed = True: must be a whole number"),
        ("time_factor = -1", "time_factor = -1: must be a number of at least 0"),
        ("mode = '2023'", "mode = '2023': must be one of current, 2024"),
        ("models = 'glm-4'", "models = 'glm-4': must be a list of texts"),
        ("gzip = 1", "gzip = 1: must be true or false"),
        ("keys = { a = 1 }", "keys: must be a table of secrets by key id"),
        ("latency = 5", "latency = 5: must be a table"),
        ("[latency]\nchat = [1, 2]", "latency.chat = [1, 2]: unknown key. Did you mean chat_ms?"),
        ("[latency]\nchat_ms = 5", "latency.chat_ms = 5: must be two numbers, [least, most]"),
        ("[latency]\nfirst_chunk_ms = 5", "latency.first_chunk_ms = 5: must be two numbers, [least, most]"),
        ("[latency]\nchunk_tokens = 0", "latency.chunk_tokens = 0: must be a whole number of at least 1"),
        ("[stream]\nchunk = 5", "stream.chunk = 5: unknown key. Did you mean chunks?"),
        ("[stream]\nchunks = 1_000_000", "stream.chunks = 1000000: must be a whole number below 100001"),
        ("[stream]\nobfuscation = 1", "stream.obfuscation = 1: must be true or false"),
        ("[[fault]]\nbehaviour = 36\nroute = 'submit'", "fault[1].route = 'submit': behaviour 36 strikes only chat"),
        ("[latency]\nchat_ms = [5, 1]", "latency.chat_ms = [5, 1]: must be two numbers, [least, most], with"),
        ("[batches]\nline = 5", "batches.line = 5: unknown key. Did you mean lines?"),
        ("[batches]\nwindow_s = -1", "batches.window_s = -1: must be a number of at least 0"),
        ("[[fault]]\nbehaviour = 62\nroute = 'chat'", "fault[1].route = 'chat': behaviour 62 strikes only create"),
        ("[limits]\nrmp = 5", "limits.rmp = 5: unknown key. Did you mean rpm?"),
        ("[limits]\nrpm = 0", "limits.rpm = 0: must be a whole number of at least 1"),
        ("[limits.models]\n'glm-4.5' = { rpm = 0 }", 'limits.models."glm-4.5".rpm = 0: must be'),
        ("[limits.models]\nx = 3", "limits.models.x = 3: must be a table"),
        ("[limits]\nchange = 3", "limits.change = 3: write [[limits.change]], one for each"),
        ("[[limits.change]]\nrpm = 5", "limits.change[1]: after_s is missing: the seconds after the first request"),
        ("[[limits.change]]\nafter_s = 5", "limits.change[1]: changes nothing; give one of in_flight, rpm and tpm"),
        ("[[limits.change]]\nafter_s = -5", "limits.change[1].after_s = -5: must be a number of at least 0"),
        ("[[limits.change]]\nafter_s = 5\nrmp = 1", "limits.change[1].rmp = 1: unknown key. Did you mean rpm?"),
        ("[[limits.change]]\nafter = 5\nrpm = 1", "limits.change[1]: after_s is missing: the seconds after the first"),
        ("[[limits.change]]\nafter_s = 5\nrpm = 1\nin_fligth = 1", "limits.change[1].in_fligth = 1: unknown key. Did"),
        ("[[limits.change]]\nafter_s = 5\nrpm = 1\nmodel = 3", "limits.change[1].model = 3: must be a text"),
        ("fault = 3", "fault = 3: write [[fault]], one for each"),
        ("[[fault]]\nrate = 0.5", "fault[1]: behaviour is missing: the number of a fault"),
        (
            "[[fault]]\nbehavior = 18",
            "fault[1]: behaviour is missing: the number of a fault. There is behavior, which is no key here. Did you mean behaviour?",
        ),
        (
            "[[fault]]\nbehaviour = 99",
            "fault[1].behaviour = 99: this simulator knows\n  18  429 without a header\n  19  429",
        ),
        ("[[fault]]\nbehaviour = 18\nrate = 2", "fault[1].rate = 2: must be between 0 and 1"),
        ("[[fault]]\nbehaviour = 18\nrate = nan", "fault[1].rate = nan: must be between 0 and 1"),
        ("[[fault]]\nbehaviour = 18\nraet = 1", "fault[1].raet = 1: unknown key. Did you mean rate?"),
        ("[[fault]]\nbehaviour = 18\nfirst = 0", "fault[1].first = 0: must be a whole number of at least 1"),
        ("[[fault]]\nbehaviour = 18\nrows = 'a'", "fault[1].rows = 'a': must be a list of texts of user messages"),
        ("[[fault]]\nbehaviour = 18\nrows = ['']", "fault[1].rows = ['']: must be a list"),
        ("[[fault]]\nbehaviour = 18\nroute = 'x'", "fault[1].route = 'x': must be one of chat, submit, poll"),
        ("[[fault]]\nbehaviour = 56\nroute = 'chat'", "fault[1].route = 'chat': behaviour 56 strikes only submit"),
        ("[[fault]]\nbehaviour = 28\nstatus = 418", "fault[1].status = 418: must be one of 500, 502, 503, 504"),
        ("[[fault]]\nbehaviour = 19\nseconds = 0", "fault[1].seconds = 0: must be a whole number of at least 1"),
        ("[[fault]]\nbehaviour = 18\nmodel = ''", "fault[1].model = '': must be a text"),
        ("[[fault]]\nbehaviour = 18\ncode = 1305", "fault[1].code = 1305: must be one of 1302, 1303"),
        ("[[fault]]\nbehaviour = 45\nform = 'odd'", "fault[1].form = 'odd': must be one of empty, invalid, truncated"),
        ("[[fault]]\nbehaviour = 43\nseconds = 'x'", "fault[1].seconds = 'x': must be a number of at least 0"),
        ("[[fault]]\nbehaviour = 50\nserved = 5", "fault[1].served = 5: must be a text"),
        (
            "[[fault]]\nbehaviour = 24\nafter_tokens = -1",
            "fault[1].after_tokens = -1: must be a whole number of at least",
        ),
        ("[[fault]]\nbehaviour = 66\nskew_s = 1e3", "fault[1].skew_s = 1000.0: must be a whole number of at least"),
        (
            "[[fault]]\nbehaviour = 66\nskew_s = 1000000000",
            "fault[1].skew_s = 1000000000: must be a whole number below",
        ),
        ("[[fault]]\nbehaviour = 61\nroute = 'submit'", "fault[1].route = 'submit': behaviour 61 strikes only poll"),
        ("[[fault]]\nbehaviour = 18\n[[fault]]\nbehaviour = 18\nstatus = 500", "fault[2].status = 500: unknown key"),
    ],
)
def test_a_wrong_scenario_says_where_what_and_the_way_out(text: str, said: str) -> None:
    """Dotted place, value, and what would do or the nearest name."""
    with pytest.raises(ScenarioError) as caught:
        parse(tomllib.loads(text))
    assert str(caught.value).startswith(said)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, not TOML, and wrong inside: the path stands first."""
    with pytest.raises(ScenarioError, match=r"missing\.toml: cannot be read: No such file"):
        load(tmp_path / "missing.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("seed =")
    with pytest.raises(ScenarioError, match=r"bad\.toml: is not TOML"):
        load(bad)
    bad.write_text("sede = 7")
    with pytest.raises(ScenarioError, match=r"bad\.toml: sede = 7: unknown key. Did you mean seed"):
        load(bad)


def test_a_fault_with_a_rate_of_its_own_gives_way_to_any_narrowing() -> None:
    """Overload strikes 85 % unless rate, rows or first say otherwise."""
    texts = ("", "rate = 0.1", "rows = ['a']", "first = 2")
    faults = [parse(tomllib.loads(f"[[fault]]\nbehaviour = 23\n{text}")).faults[0] for text in texts]
    assert [fault.rate for fault in faults] == [0.85, 0.1, None, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits.models.glm-4x]\nrpm = 5", "limits.models.\"glm-4x\" = 'glm-4x': is not served. Did you mean glm-4?"),
        ("[[limits.change]]\nafter_s = 5\nrpm = 1\nmodel = 'zzz'", "limits.change.model = 'zzz': is not served. The key models has: "),
        ("[[fault]]\nbehaviour = 18\nmodel = 'glm4'", "fault[1].model = 'glm4': is not served. Did you mean glm-4?"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_model_that_is_not_served_is_refused(text: str, said: str) -> None:
    """FIELD 51: a misspelt name was a limit or a fault that never came."""
    with pytest.raises(ScenarioError, match="is not served") as caught:
        parse(tomllib.loads(f'models = ["glm-4", "GLM-4-Air"]\n{text}'))
    assert str(caught.value).startswith(said)
    assert parse(tomllib.loads(text)).models is None, "where any name is served, this one is"
    parse(tomllib.loads('models = ["glm-4"]\n[limits.models.GLM-4]\nrpm = 5\n'))
