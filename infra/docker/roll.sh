#!/bin/sh
# Replaces the containers of services by ones of the images and settings that are there now,
# without a gap: `infra/docker/roll.sh redirector api worker`.
#
# First the schema is brought up to date. Then, for a moment, there are twice as many. When the new ones
# are healthy, the old ones are stopped one by one, each finishing what it has. When they don't become
# healthy, they are removed again.
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

# So that one with the image and settings of now runs before the first new container. Replacing it,
# as the next `up` would, has Compose replace all that depends on it at once.
docker compose rm --force migrate

for service; do
    old=$(docker compose ps --quiet "$service")
    wanted=$(($(echo "$old" | wc -l) * 2))
    # Not with --no-deps: for Compose a container that was made so has other settings, and the next
    # `up` replaces it.
    if ! docker compose up --detach --no-recreate --wait --scale "$service=$wanted" "$service"; then
        new=$(docker compose ps --all --quiet "$service" | grep -vF "$old" || true)
        remove $new
        echo "hoplink: the new $service doesn't work; the old one still runs" >&2
        exit 1
    fi
    sleep "$SETTLE_SECONDS"
    remove $old
    echo "hoplink: $service is replaced"
done
