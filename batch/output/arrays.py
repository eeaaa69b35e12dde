"""One column at a time: Python values become an Arrow array.

Owns how costs become exact decimals, and that a column which holds one value from end to end is not converted value by
value. It does not know which columns there are (`columns`).

A value that Arrow cannot hold never stops a publication, because the run would meet it again at every restart: half a
surrogate pair becomes U+FFFD, a token count beyond 64 bits becomes null, which means "unknown" everywhere else too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from batch.core.canonical import without_surrogates
from batch.core.records import COST_DIGITS
from batch.output.columns import BOOL, COST, TEXT

_COST_LIMIT: Final = 10**38
_NO_COST: Final = bytes(16)


def array(values: Sequence[Any], kind: Any) -> Any:
    """One column of Python values; a value that Arrow cannot hold is replaced as the top of this module says."""
    # Most columns hold one value from end to end: to look and to repeat it takes a fifth of what it takes to convert
    # each. Not where values are nested: to repeat these, Arrow goes through all of them one by one.
    is_one = len(values) > 1 and values[0] == values[-1] and values.count(values[0]) == len(values)
    if is_one and not pa.types.is_nested(kind):
        return pa.repeat(_converted(values[:1], kind)[0], len(values))
    return _converted(values, kind)


def _converted(values: Sequence[Any], kind: Any) -> Any:
    if kind is COST:
        return _costs(values)
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array(without_surrogates(values), kind)
    except (OverflowError, pa.ArrowInvalid):
        if not pa.types.is_integer(kind):
            raise
        limit = 1 << (kind.bit_width - 1)
        return pa.array([value if value is not None and -limit <= value < limit else None for value in values], kind)


def _costs(values: Sequence[int | None]) -> Any:
    """Costs in 10⁻¹² units as decimals.

    A decimal128(38, 12) holds just this integer, so the buffer is written directly: that is exact, and many times
    faster than a `Decimal` for each row.
    """
    costs = [value for value in values if value is not None]
    if costs and not 0 <= min(costs) <= max(costs) < _COST_LIMIT:
        raise ValueError(f"a cost of {min(costs)} to {max(costs)} · 10^-{COST_DIGITS} cannot be: costs are 0 or more")
    data = b"".join([_NO_COST if value is None else value.to_bytes(16, "little") for value in values])
    validity = None
    if len(costs) < len(values):
        # The bits of a boolean array have the layout of a validity bitmap.
        validity = pa.array([value is not None for value in values], BOOL).buffers()[1]
    return pa.Array.from_buffers(COST, len(values), [validity, pa.py_buffer(data)])


def repeated(text: str, count: int, kind: Any) -> Any:
    """One text for all rows."""
    if kind == TEXT:
        return pa.repeat(pa.scalar(text, TEXT), count)
    # Put together, for a cast would have Arrow load all that it computes with: 90 ms and 9 MB.
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), pa.array([text], TEXT))


def repeated_map(texts: Mapping[str, str], count: int) -> Any:
    """The same texts by their names for all rows."""
    clean = without_surrogates(dict(texts))
    # Put together: to repeat a map, Arrow goes through all of them one by one.
    offsets = pa.array(range(0, (count + 1) * len(clean), len(clean)) if clean else [0] * (count + 1), pa.int32())
    keys, values = (pa.array(list(one) * count, TEXT) for one in (clean.keys(), clean.values()))
    return pa.MapArray.from_arrays(offsets, keys, values)
