"""`batch.plan.forecast`: a job that sends only at some hours takes until they have passed, and costs what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.cli import estimate_text
from batch.core.clock import MICROSECONDS, HandClock
from batch.core.plain import clean
from batch.plan.forecast import Forecast, forecast
from batch.plan.preflight import CheckedJob, check_job
from batch.report import forecast_json
from batch.tokens.calibration import Calibration
from tests.support.jobtext import SOUND, load

NOON_US = 1_764_590_400 * MICROSECONDS
"""2025-12-01 12:00 UTC, a Monday; 20:00 in Shanghai."""
HOURS = '\n[limits]\nrequests_per_minute = 0.1\nhours = "22:00-08:00 Asia/Shanghai"\n'
PRICES = """
[[price]]
providers = ["glm"]
list = "ours"
models = ["glm-4"]
currency = "CNY"
input = "{input}"
output = "8"
source = "a test"
checked_on = 2025-12-01
{hours}
"""


@pytest.fixture
def checked(tmp_path: Path) -> CheckedJob:
    """60 calls, ten hours of sending; dear in the evening of Shanghai until 21:00, then cheap, and cheaper at noon."""
    (tmp_path / "tickets.jsonl").write_text('{"body": "x"}\n' * 60, encoding="utf-8")
    evening, noon = 'hours = ["18:00-21:00 Asia/Shanghai"]', 'hours = ["11:00-13:00 Asia/Shanghai"]'
    lines = ((4, evening), (2, ""), (1, noon))
    (tmp_path / "my.toml").write_text(
        "".join(PRICES.format(input=price, hours=hours) for price, hours in lines), encoding="utf-8"
    )
    job = load(tmp_path, SOUND + HOURS)
    return check_job(job, {"ZHIPUAI_API_KEY": "0123456789abcdef.0123456789abcdef"}, tmp_path / "my.toml")


def found_at(checked: CheckedJob, now_us: int) -> Forecast:
    """The estimate of a moment."""
    return forecast(checked, Calibration(None), clock=HandClock(wall_us=now_us))


def test_ten_hours_of_sending_last_until_the_hours_of_a_night_have_passed(checked: CheckedJob) -> None:
    """Ten hours from eight in the evening on, at nights from ten to eight: done at eight in the morning."""
    found = found_at(checked, NOON_US)
    public = forecast_json.public(found, checked)
    assert public["sending_seconds"]["likely"] == 36_000
    assert public["seconds"]["likely"] == 12 * 3_600
    assert public["begins_at"] == "2025-12-01T14:00:00.000Z"
    text = clean(" ".join(estimate_text.lines(checked, found, None)))
    assert "about 10 h 00 min, held by limits.requests_per_minute, sent only in 22:00-08:00 Asia/Shanghai" in text
    assert "done about 2025-12-02 08:00 Asia/Shanghai, 12 h 00 min from now" in text


def test_the_prices_are_those_of_the_hours_in_which_calls_leave(checked: CheckedJob) -> None:
    """Neither those of now, when nothing leaves, nor those of noon, when nothing ever does."""
    found = found_at(checked, NOON_US)
    (ids,) = {one.priced.price_ids for one in found.models}
    (line,) = (checked.prices.by_id(name) for name in ids)
    assert line is not None
    assert (line.input, line.hours) == (2 * MICROSECONDS, ())
    assert found.models[0].priced.off_peak is None
    assert "at the prices of 2025-12-01T14:00:00.000Z" in " ".join(estimate_text.lines(checked, found, None))
    at_night = found_at(checked, NOON_US + 3 * 3_600 * MICROSECONDS)
    assert (at_night.waits, at_night.models[0].priced.price_ids) == (False, ids)
    assert forecast_json.public(at_night, checked)["begins_at"] is None
