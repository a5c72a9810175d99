#!/usr/bin/env bash
# Builds the image from the files it is given, and runs it, where Podman and debootstrap are installed or can be.
# Says what is missing and ends with 0 where they cannot; a build that fails ends with what it failed with.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
cleared() {
    podman rm --force privinf-check-dealer
    podman image rm --force privinf-check
} >/dev/null 2>&1
trap 'cleared || true; rm -rf "$work"' EXIT

left_out() {
    echo "the image was not built: $1"
    exit 0
}

tools() { command -v podman && command -v debootstrap && command -v runc; }

tools >/dev/null || {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || left_out "Podman and debootstrap are missing"
    { apt-get update && apt-get install --yes --no-install-recommends podman runc debootstrap; } >/dev/null 2>&1 || true
    tools >/dev/null || left_out "Podman and debootstrap cannot be installed here"
}

# No cgroup manager and no raised limits: a container within a container has neither.
cat >"$work/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
export CONTAINERS_CONF="$work/containers.conf"

# The base image: Debian's own Python 3.11, and a compiler, as the build then needs no network.
base=${BASE:-localhost/privinf-check-base:bookworm}
if [ -z "${BASE:-}" ] && ! podman image exists "$base"; then
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)*\([^ ]*\).*/\2/p' | sed -n 1p) || true
    [ -n "$mirror" ] || left_out "no Debian mirror is configured here"
    timeout 1200 debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates,g++,python3-dev \
        bookworm "$work/root" "$mirror" >"$work/base.log" 2>&1 || left_out "no base image: $(tail -1 "$work/base.log")"
    tar -C "$work/root" -c . | podman import - "$base" >/dev/null || left_out "Podman cannot import a base image here"
fi
podman run --rm --network none "$base" true || left_out "Podman cannot run a container here"

"$python" deploy/image_context.py "$work/context"
"$python" - >"$work/wanted" <<'WANTED'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["node"], "setuptools>=77", "wheel", sep="\n")
WANTED
"$python" -m pip download --quiet --dest "$work/context/deploy/wheels" --requirement "$work/wanted" \
    --constraint requirements.lock --python-version 3.11 --only-binary :all:

podman build --network none --build-arg "BASE=$base" --build-arg PIP_NO_INDEX=1 --tag privinf-check "$work/context"
podman run --rm --network none --read-only --tmpfs /tmp --user 10001:10001 privinf-check doctor --json

# A dealer of a small model, in a container without network: it serves, its probe says so, and it stops in good order.
"$python" - "$work" <<'TOY'
import sys
from pathlib import Path
sys.path.insert(0, "tests/support")
import toy
from privinf.keys import keygen
work = Path(sys.argv[1])
toy.share(toy.checkpoint(work / "model"), work / "shared")
keygen(work / "keys")
TOY
chmod 711 "$work" && chown -R 10001:10001 "$work/shared" "$work/keys"
podman run --detach --network none --read-only --tmpfs /tmp --name privinf-check-dealer \
    --volume "$work/shared/dealer:/model:ro" --volume "$work/keys:/keys/dealer:ro" \
    --env PRIVINF_MODEL=/model --env PRIVINF_HEALTH_PORT=50059 --env PRIVINF_HEALTH_HOST=0.0.0.0 \
    --env PRIVINF_CA=/keys/dealer/ca.pem --env PRIVINF_CERT=/keys/dealer/dealer.pem \
    --env PRIVINF_KEY=/keys/dealer/dealer.key --env http_proxy=http://127.0.0.1:1 privinf-check dealer >/dev/null
for attempt in $(seq 120); do
    podman exec privinf-check-dealer python /opt/privinf/probe.py 2>/dev/null && break
    [ "$attempt" != 120 ] || { podman logs privinf-check-dealer; exit 1; }
    sleep 0.5
done
podman stop --time 30 privinf-check-dealer >/dev/null
[ "$(podman wait privinf-check-dealer)" = 0 ] || { podman logs privinf-check-dealer; exit 1; }
echo "the image was built, and its dealer served"
