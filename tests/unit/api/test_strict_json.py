"""JSON that PostgreSQL can hold and every client can read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import strict_json

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children) | st.dictionaries(TEXT, children),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read_as_it_was(value: object) -> None:
    parsed = strict_json.parse(json.dumps(value))
    assert parsed == value
    assert repr(parsed) == repr(value)
    strict_json.check(parsed)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_anything_else_is_a_value_error(text: str) -> None:
    try:
        value = strict_json.parse(text)
    except ValueError:
        return
    assert json.loads(text) == value


@given(VALUES, st.sampled_from(["\0", "\ud800", "a\udfffb"]), st.booleans())
def test_text_that_can_not_be_stored_is_found_wherever_it_is(
    value: object, text: str, as_name: bool
) -> None:
    hidden = [value, {"a": [{text: value} if as_name else text]}]
    with pytest.raises(ValueError, match="must not hold"):
        strict_json.check(hidden)


@pytest.mark.parametrize("levels", [1, strict_json.MAX_DEPTH - 1])
def test_nesting_up_to_the_limit_is_fine(levels: int) -> None:
    strict_json.check(strict_json.parse("[" * levels + "1" + "]" * levels))


@pytest.mark.parametrize("levels", [strict_json.MAX_DEPTH, 900, 200_000])
def test_nesting_beyond_it_is_not(levels: int) -> None:
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        strict_json.check(strict_json.parse("[" * levels + "1" + "]" * levels))
