"""`batch.core.metrics`: what it writes is what Prometheus' own parser reads, whatever names people give."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from batch.core.metrics import Family, Sample, begins_as_ours, label_in, text_of, value_in, with_value

numbers = st.one_of(
    st.integers(0, 10**15), st.floats(0, 1e15), st.decimals(0, 10**9, places=12, allow_nan=False, allow_infinity=False)
)


@given(st.text(), st.text(), numbers)
def test_the_parser_of_prometheus_reads_every_label_and_number(job: str, model: str, number: float | Decimal) -> None:
    """Quotes, backslashes, line breaks, braces and halves of surrogate pairs in a name break no line."""
    family = Family("promptmill_x_total", "counter", "A text\nof two lines.", (Sample(number, {"model": model}),))
    text = text_of([family, Family("promptmill_none", "gauge", "Nothing.", ())], {"batch_job": job})
    [read] = text_string_to_metric_families(text)
    [sample] = read.samples
    assert (read.type, sample.name) == ("counter", "promptmill_x_total")
    assert sample.labels == {"batch_job": safe(job), "model": safe(model)}
    assert sample.value == float(number)
    assert label_in(text, "batch_job") == safe(job)


def safe(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def test_a_number_is_read_back_and_what_is_damaged_is_none() -> None:
    """The file may have been cut, edited or made by others."""
    text = text_of([Family("promptmill_a", "gauge", "A.", (Sample(1.5), Sample(2.5)))], {"batch_job": "j"})
    assert value_in(text, "promptmill_a") == 1.5
    assert value_in(text, "promptmill_b") is None
    for damaged in ("", "promptmill_a", 'promptmill_a{batch_job="j"} NaN', "promptmill_a x", text[:-6]):
        assert value_in(damaged, "promptmill_a") in (None, 1.5)
    assert value_in(with_value(text, "promptmill_a", 7), "promptmill_a") == 7
    assert with_value(text, "promptmill_a", 7).count("} 7\n") == 2
    assert with_value(text, "promptmill_b", 7) == text
    assert begins_as_ours(text, "promptmill_")
    assert not begins_as_ours("name = 'job'", "promptmill_")
