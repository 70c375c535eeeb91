"""What `make run` takes from the environment and `.env`."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.errors import StackError
from infra.local.options import Options, fallback_data_dir, pointer


def test_defaults(tmp_path: Path) -> None:
    options = Options.from_env({}, tmp_path)

    assert options.port == 5001
    assert options.redirectors == 1
    assert options.data_dir == tmp_path / ".data"
    assert not options.data_dir_given
    assert options.trusted_proxies == ()
    assert options.monitoring
    assert (options.prometheus_port, options.alertmanager_port) == (9090, 9093)
    assert not options.log_addresses


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('PORT=6000\nLOG_LEVEL="DEBUG"\nREDIRECTORS=3\n')

    options = Options.from_env({"PORT": "7000", "REDIRECTORS": ""}, tmp_path)

    assert options.port == 7000
    assert options.redirectors == 3, "an empty variable counts as not set"
    assert options.environ["LOG_LEVEL"] == "DEBUG"


def test_nginx_has_the_limits_of_the_api(tmp_path: Path) -> None:
    assert Options.from_env({}, tmp_path).max_bulk_bytes == 2**29
    assert Options.from_env({"API_MAX_BODY_BYTES": "4096"}, tmp_path).max_body_bytes == 4096
    with pytest.raises(StackError, match="API_MAX_BULK_BYTES=1g is no number"):
        Options.from_env({"API_MAX_BULK_BYTES": "1g"}, tmp_path)


def test_a_relative_data_folder_is_one_of_the_checkout(tmp_path: Path) -> None:
    assert Options.from_env({"DATA_DIR": "x/y z"}, tmp_path).data_dir == tmp_path / "x" / "y z"


@pytest.mark.parametrize("name", ["PORT", "REDIRECTORS"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "65536", "²", " 1"])
def test_a_number_out_of_range_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(StackError, match=rf"{name}={value} is no number"):
        Options.from_env({name: value}, tmp_path)


def test_trusted_proxies_may_be_separated_by_commas_or_spaces(tmp_path: Path) -> None:
    options = Options.from_env({"TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1 ::1"}, tmp_path)

    assert options.trusted_proxies == ("10.0.0.0/8", "192.0.2.1", "::1")


@pytest.mark.parametrize("value", ["nonsense", "10.0.0.0/33", "10.0.0.1, beef"])
def test_a_trusted_proxy_that_is_no_address_is_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(StackError, match=r"TRUSTED_PROXIES=.* is neither an address nor a network"):
        Options.from_env({"TRUSTED_PROXIES": value}, tmp_path)


def test_tools_find_run_json_in_the_checkout(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "run.json").symlink_to(tmp_path / "where another run was" / "run.json")

    assert pointer(tmp_path) == tmp_path / ".data" / "run.json"


def test_two_checkouts_have_different_fallback_folders(tmp_path: Path) -> None:
    assert fallback_data_dir(tmp_path / "a") != fallback_data_dir(tmp_path / "b")
    assert fallback_data_dir(tmp_path / "a") == fallback_data_dir(tmp_path / "a")


def test_monitoring_is_on_or_off(tmp_path: Path) -> None:
    assert not Options.from_env({"MONITORING": "off"}, tmp_path).monitoring
    with pytest.raises(StackError, match="MONITORING=no is neither on nor off"):
        Options.from_env({"MONITORING": "no"}, tmp_path)


def test_addresses_are_logged_when_the_services_setting_says_so(tmp_path: Path) -> None:
    assert Options.from_env({"LOG_CLIENT_ADDRESSES": "true"}, tmp_path).log_addresses
    with pytest.raises(StackError, match="LOG_CLIENT_ADDRESSES=perhaps"):
        Options.from_env({"LOG_CLIENT_ADDRESSES": "perhaps"}, tmp_path)
