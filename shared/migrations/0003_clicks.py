"""Clicks: each of them for a while, totals for ever, and how far each producer is recorded."""

from __future__ import annotations

from typing import Any

SCHEMA = """
CREATE TABLE click_producers (
    producer uuid PRIMARY KEY,
    recorded bigint NOT NULL,
    lost     bigint NOT NULL,
    seen_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE click_producers IS 'A start of a redirector, which numbers its clicks from 0';
COMMENT ON COLUMN click_producers.recorded IS 'All numbers below it are recorded, or lost';

CREATE TABLE clicks (
    link_id    bigint      NOT NULL,
    clicked_at timestamptz NOT NULL,
    country    text COLLATE "C",
    referrer   text COLLATE "C",
    is_bot     boolean     NOT NULL,
    device     text COLLATE "C" NOT NULL,
    user_agent text COLLATE "C"
) PARTITION BY RANGE (clicked_at);
CREATE INDEX clicks_link ON clicks (link_id, clicked_at);
COMMENT ON TABLE clicks IS 'Partitions, one a day (UTC), are made and dropped by the worker';

CREATE TABLE click_hours (
    link_id bigint      NOT NULL,
    hour    timestamptz NOT NULL,
    clicks  bigint      NOT NULL,
    bots    bigint      NOT NULL,
    PRIMARY KEY (link_id, hour)
) PARTITION BY RANGE (hour);
COMMENT ON TABLE click_hours IS 'Partitions, one a month (UTC), are made and dropped by the worker';

CREATE TABLE click_days (
    link_id   bigint NOT NULL,
    day       date   NOT NULL,
    clicks    bigint NOT NULL,
    bots      bigint NOT NULL,
    referrers json   NOT NULL,
    devices   json   NOT NULL,
    countries json   NOT NULL,
    is_wide   boolean NOT NULL,
    PRIMARY KEY (link_id, day)
) WITH (fillfactor = 70);
CREATE INDEX click_days_wide ON click_days (day) WHERE is_wide;
COMMENT ON COLUMN click_days.clicks IS 'Of people; so are referrers, devices and countries';
COMMENT ON COLUMN click_days.is_wide IS 'Holds more names than are kept once the day is over';

CREATE TABLE click_counts (
    link_id   bigint PRIMARY KEY,
    clicks    bigint NOT NULL,
    bots      bigint NOT NULL,
    magnitude smallint NOT NULL
        GENERATED ALWAYS AS ((ln(clicks::double precision + 1) * 12)::smallint) STORED
) WITH (fillfactor = 70);
CREATE INDEX click_counts_magnitude ON click_counts (magnitude);
COMMENT ON COLUMN click_counts.magnitude IS
    'Changes so rarely that an index on it, unlike one on clicks, costs an update nothing';
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(SCHEMA)
