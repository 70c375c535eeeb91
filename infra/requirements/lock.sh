#!/bin/sh
# Pins what pyproject.toml asks for, with hashes: one file an extra, valid for Linux and macOS and
# for every Python from 3.11 on. Versions already locked stay unless --upgrade is given.
#
# The package index is the one that pip uses here; no address gets into the files.
set -eu
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet uv

index=$("$scratch/venv/bin/pip" config get global.index-url 2>/dev/null || true)
index=${PIP_INDEX_URL:-$index}
if [ -n "$index" ]; then
    export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
fi
if [ -n "${PIP_CERT:-}" ]; then
    export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
fi

compile() {
    name=$1
    shift
    echo "locking infra/requirements/$name.txt"
    "$scratch/venv/bin/uv" pip compile pyproject.toml --extra "$name" --quiet --custom-compile-command "make lock" \
        --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-emit-index-url --no-emit-find-links \
        --output-file "infra/requirements/$name.txt" "$@"
}

compile dev "$@"
# What is tested is what is deployed: the services get the versions of the development lock.
for service in redirector api worker; do
    compile "$service" --constraint infra/requirements/dev.txt "$@"
done
