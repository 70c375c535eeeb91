"""A load test fails when it should, ends when it should, and loads nobody by accident."""

from __future__ import annotations

import pytest

from loadtest.objectives import OBJECTIVES, HostRefused, Measured, check_host, judge
from loadtest.shapes import SHAPES


def test_all_that_is_measured_and_met_is_no_problem() -> None:
    assert judge([Measured(name, 1_000, 0, 1.0) for name in OBJECTIVES]) == []


def test_a_kind_of_request_that_a_shape_leaves_out_is_not_missed() -> None:
    assert judge([Measured("redirect", 1_000, 1, 100.0), Measured("read", 0, 0, 0)]) == []


def test_too_many_failures_are_a_problem() -> None:
    assert judge([Measured("redirect", 1_000, 2, 1.0)]) == ["redirect: 0.20% failed, 0.10% may"]


def test_being_too_slow_is_a_problem() -> None:
    assert judge([Measured("redirect", 10, 0, 101.0)]) == ["redirect: p99 is 101 ms, 100 allowed"]


def test_each_method_of_a_kind_is_judged() -> None:
    measured = [Measured("write", 100, 50, 1.0), Measured("write", 100, 0, 1.0)]

    assert judge(measured) == ["write: 50.00% failed, 0.10% may"]


def test_a_load_test_without_a_request_has_shown_nothing() -> None:
    assert judge([]) == judge([Measured("redirect", 0, 0, 0)]) == ["nothing was measured"]


def test_what_has_no_objective_is_not_passed_over() -> None:
    assert judge([Measured("other", 1, 0, 1)]) == ["other: no objective is stated for it"]


@pytest.mark.parametrize(
    "url", ["http://localhost:5001", "http://127.0.0.1", "http://127.1.2.3:80/", "https://[::1]:1"]
)
def test_this_machine_may_be_loaded(url: str) -> None:
    check_host(url, "")


@pytest.mark.parametrize(
    "url",
    [
        "https://sho.rt",
        "http://10.0.0.1:5001",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost@sho.rt/",
    ],
)
def test_any_other_host_must_be_named(url: str) -> None:
    with pytest.raises(HostRefused, match="ALLOW_HOST="):
        check_host(url, "")
    with pytest.raises(HostRefused, match="ALLOW_HOST="):
        check_host(url, "another.example.com")


def test_a_host_that_is_named_may_be_loaded() -> None:
    check_host("https://sho.rt/", "sho.rt")


@pytest.mark.parametrize("url", ["", "localhost:5001", "ftp://localhost", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(HostRefused, match="is no address"):
        check_host(url, "localhost")


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_goes_through_its_stages_and_ends(name: str) -> None:
    shape = SHAPES[name]
    ends = [stage.until for stage in shape.stages]

    assert ends == sorted(set(ends))
    assert [shape.users_at(end - 0.1) for end in ends] == [
        (stage.users, stage.rate) for stage in shape.stages
    ]
    assert shape.users_at(shape.seconds) is None
    assert sum(shape.kinds.values()) == 100
