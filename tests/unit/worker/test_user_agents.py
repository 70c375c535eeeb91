"""People are told from bots, and their devices from one another."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.user_agents import classify

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0"


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36", "desktop"),
        (
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
                "(KHTML, like Gecko) Version/17.1 Safari/605.1.15"
            ),
            "desktop",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0", "desktop"),
        (
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 "
                "(KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1"
            ),
            "mobile",
        ),
        (f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36", "mobile"),
        (f"Mozilla/5.0 (Linux; Android 9; CUBOT X19) {CHROME} Mobile Safari/537.36", "mobile"),
        (f"Mozilla/5.0 (Linux; Android 12; SM-T870) {CHROME} Safari/537.36", "tablet"),
        (
            (
                "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 "
                "(KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1"
            ),
            "tablet",
        ),
        (
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
                "(KHTML, like Gecko) Mobile/15E148 Instagram 308.0.2.18.106 (iPhone14,5; iOS 17_0)"
            ),
            "mobile",
        ),
        (f"Mozilla/5.0 (Web0S; Linux/SmartTV) {CHROME} Safari/537.36 WebAppManager", "tv"),
        (
            (
                "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 "
                "(KHTML, like Gecko) Version/13.0 Safari/605.1.15"
            ),
            "console",
        ),
    ],
)
def test_a_person_is_a_person_with_a_device(user_agent: str, device: str) -> None:
    assert classify(user_agent) == (device, False)


@pytest.mark.parametrize(
    "user_agent",
    [
        "",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        f"Mozilla/5.0 {CHROME} Safari/537.36 (compatible; bingbot/2.0; +http://www.bing.com/bot)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 "
            "(KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 "
            "Facebot Twitterbot/1.0"
        ),
        "WhatsApp/2.23.20.0",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "TelegramBot (like TwitterBot)",
        "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
        "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        "http.rb/5.1.1 (Mastodon/4.2.0; +https://mastodon.social/) Bot",
        "curl/8.4.0",
        "python-httpx/0.28.1",
        "Go-http-client/1.1",
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "HeadlessChrome/119.0.0.0 Safari/537.36"
        ),
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2)",
        "Prometheus/2.45.0",
    ],
)
def test_crawlers_previews_and_programs_are_bots(user_agent: str) -> None:
    assert classify(user_agent).is_bot


@given(st.text(max_size=512))
def test_no_user_agent_is_too_odd(user_agent: str) -> None:
    assert classify(user_agent).device in {
        *("desktop", "mobile", "tablet", "tv", "console", "other")
    }


@pytest.mark.parametrize("unit", ["(", "((((;", "Mozilla/5.0 (", "@a.", "by a.", "-agent;", "http"])
def test_no_user_agent_takes_long(unit: str) -> None:
    """Made to be slow, at the greatest length that is kept."""
    user_agent = ("Mozilla/5.0 (X11) " + unit * 512)[:512]
    started = time.perf_counter()
    for number in range(20):
        classify(f"{user_agent}{number}")
    assert (time.perf_counter() - started) / 20 < 0.02
