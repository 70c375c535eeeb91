"""/dashboard as a document: whole, alone, and allowed to run nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from services.api.dashboard import SCRIPTS
from tests.support.services import ROOT

FOLDER = ROOT / "services" / "api" / "dashboard"


def test_is_one_page(any_api: httpx.Client) -> None:
    for path in ("/dashboard", "/dashboard/"):
        response = any_api.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.text.startswith("<!doctype html>")
        assert "{{" not in response.text
    assert any_api.head("/dashboard").status_code == 200


def test_fetches_nothing_from_elsewhere(any_api: httpx.Client) -> None:
    page = any_api.get("/dashboard").text

    addresses = set(re.findall(r"https?://[\w.:-]+", page))
    assert addresses <= {"http://www.w3.org"}, "the name of SVG's elements is no address"
    assert not re.findall(r"<(?:link|script|img|iframe)[^>]+(?:src|href)=[\"'](?!data:)", page)
    assert "@import" not in page


def test_may_run_only_what_is_in_it(any_api: httpx.Client) -> None:
    response = any_api.get("/dashboard")

    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none';")
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_script_of_the_folder_is_in_the_page() -> None:
    assert {path.name for path in FOLDER.glob("*.js")} == set(SCRIPTS)


@pytest.mark.parametrize(
    "way", [r"\.innerHTML", r"\.outerHTML", "insertAdjacentHTML", r"\beval\(", r"document\.write"]
)
def test_no_script_turns_text_into_elements(way: str) -> None:
    for name in SCRIPTS:
        assert not re.search(way, (FOLDER / name).read_text()), name


def test_is_part_of_what_is_installed(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in ("page.html", "page.css", *SCRIPTS):
        assert f"services/api/dashboard/{name}" in names


def _colours(scheme: int) -> dict[str, str]:
    pairs = re.findall(
        r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", (FOLDER / "page.css").read_text()
    )
    return {name: colours[scheme] for name, *colours in pairs}


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        *((ink, paper) for ink in ("text", "muted") for paper in ("ground", "surface", "raised")),
        ("muted", "unknown-ground"),
        *((mood, "surface") for mood in ("good", "doubtful", "bad", "accent")),
        *((mood, f"{mood}-ground") for mood in ("good", "doubtful", "bad")),
    ],
)
def test_text_can_be_told_from_its_ground(ink: str, paper: str, scheme: int) -> None:
    """WCAG 2.2, level AA: a contrast of 4.5 to 1."""
    colours = _colours(scheme)
    dark, light = sorted((_luminance(colours[ink]), _luminance(colours[paper])))

    assert (light + 0.05) / (dark + 0.05) >= 4.5
