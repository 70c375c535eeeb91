"""What a short code is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import short_codes
from shared.short_codes import InvalidShortCode


@pytest.mark.parametrize("code", ["abc", "A-_9", "x" * 32, "Users", "--health", "0000000"])
def test_a_link_may_exist_with(code: str) -> None:
    assert short_codes.is_possible(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "ab",
        "x" * 33,
        "a b",
        "a.b",
        "caf\u00e9",
        "\u0661\u0661\u0661",
        "abc\n",
        "a/b",
        "abc\x00",
    ],
)
def test_no_link_can_exist_with(code: str) -> None:
    assert not short_codes.is_possible(code)
    with pytest.raises(InvalidShortCode, match="must be 3 to 32"):
        short_codes.validate(code)


@pytest.mark.parametrize("word", sorted(short_codes.RESERVED))
def test_nobody_may_take_a_path_of_the_api_in_any_case(word: str) -> None:
    assert not short_codes.is_possible(word)
    for spelling in (word, word.upper(), word.title()):
        with pytest.raises(InvalidShortCode, match="reserved"):
            short_codes.validate(spelling)


@given(st.from_regex(r"[A-Za-z0-9_-]{3,32}", fullmatch=True))
def test_whatever_may_be_created_may_exist(code: str) -> None:
    if code.lower() not in short_codes.RESERVED:
        assert short_codes.validate(code) == code
        assert short_codes.is_possible(code)


def test_generated_codes_are_seven_base62_characters_and_differ() -> None:
    codes = {short_codes.generate() for _ in range(2_000)}
    assert len(codes) == 2_000
    assert {len(code) for code in codes} == {7}
    assert set("".join(codes)) == set(short_codes.BASE62)
    assert all(short_codes.validate(code) for code in codes)
