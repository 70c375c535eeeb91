#!/bin/sh
# Replaces the containers of services by ones of the images and settings that are there now,
# without a gap: `infra/docker/roll.sh redirector api worker`.
#
# For a moment there are twice as many. When the new ones are healthy, the old ones are stopped one
# by one, each finishing what it has. When they don't become healthy, they are removed again.
set -eu
cd "$(dirname "$0")/../.."

SETTLE_SECONDS=3 # nginx asks once a second which containers there are

remove() {
    for container; do
        # Waits as long as docker-compose.yml grants.
        docker stop "$container" > /dev/null
        docker rm "$container" > /dev/null
    done
}

for service; do
    old=$(docker compose ps --quiet "$service")
    wanted=$(($(echo "$old" | wc -l) * 2))
    if ! docker compose up --detach --no-deps --no-recreate --wait --scale "$service=$wanted" "$service"; then
        new=$(docker compose ps --all --quiet "$service" | grep -vF "$old")
        remove $new
        echo "hoplink: the new $service doesn't work; the old one still runs" >&2
        exit 1
    fi
    sleep "$SETTLE_SECONDS"
    remove $old
    echo "hoplink: $service is replaced"
done
