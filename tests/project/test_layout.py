"""The tree is the one that docs/ARCHITECTURE.md describes, and `shared` stays small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TOP_LEVEL = {
    *("services", "shared", "infra", "monitoring", "docs", "seed", "loadtest", "tests"),
    *("docker-compose.yml", "pyproject.toml", ".env.example"),
    *("README.md", "CHANGELOG.md", "LICENSE", "Makefile", ".ci", ".gitignore"),
}
SERVICES = ("redirector", "api", "worker")
SHARED = sorted(path.stem for path in (ROOT / "shared").glob("*.py") if path.stem != "__init__")


def test_nothing_new_is_at_the_top_level() -> None:
    assert {path.name for path in ROOT.iterdir() if not _is_ignored(path)} <= TOP_LEVEL


@pytest.mark.parametrize("module", SHARED)
def test_a_shared_module_is_used_by_two_services(module: str) -> None:
    users = {service for service in SERVICES if module in _shared_by(service)}

    assert len(users) >= 2, f"shared.{module} belongs to {users or 'nobody'}"


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "common", "misc"])
def test_no_module_is_a_junk_drawer(name: str) -> None:
    for top in ("services", "shared", "infra", "seed", "loadtest", "tests", "monitoring"):
        assert not [path for path in (ROOT / top).rglob(f"{name}*") if path.stem == name]


def _is_ignored(path: Path) -> bool:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    patterns = [".git", *(line.rstrip("/") for line in lines if line and line[0] != "#")]
    return any(fnmatch(path.name, pattern) for pattern in patterns)


@cache
def _shared_by(service: str) -> set[str]:
    """The modules of `shared` that a service imports, by way of other shared modules too."""
    found: set[str] = set()
    waiting = {
        module
        for path in (ROOT / "services" / service).rglob("*.py")
        for module in _imported_from_shared(path)
    }
    while waiting:
        module = waiting.pop()
        found.add(module)
        path = ROOT / "shared" / f"{module}.py"
        if path.exists():
            waiting |= set(_imported_from_shared(path)) - found
    return found


def _imported_from_shared(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, module = node.module.partition(".")
            if package == "shared":
                yield from [module.partition(".")[0]] if module else [n.name for n in node.names]
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("shared.")
            )
