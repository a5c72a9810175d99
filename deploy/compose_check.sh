#!/usr/bin/env bash
# Brings the compose file up, asks a query through the SDK over TLS, compares it with the clear model, takes all down.
#   MODEL_DIR=shared-model [COMPOSE="podman-compose"] deploy/compose_check.sh [CLEAR_MODEL]
# It removes the deployment's volumes at the end, keys and stores included: not for one that is in use.
set -euo pipefail
cd "$(dirname "$0")/.."
read -r -a compose <<<"${COMPOSE:-docker compose}"
export MODEL_DIR=${MODEL_DIR:-./shared-model}
keys=$(mktemp -d)
trap 'rm -rf "$keys"; "${compose[@]}" down --volumes' EXIT

healthy() {
    local service=$1 attempt
    for attempt in $(seq 60); do
        "${compose[@]}" exec -T "$service" python /opt/privinf/probe.py 2>/dev/null && return 0
        sleep 1
    done
    echo "$service is not healthy after $attempt attempts" >&2
    return 1
}

"${compose[@]}" build keys # the image of all services: built once, not once for each
"${compose[@]}" up --detach
for service in dealer party1 party0; do
    healthy "$service"
done
"${compose[@]}" --profile client run --rm -T --no-deps --entrypoint tar client -C /keys/client -c . |
    tar --extract --no-same-owner --directory "$keys"
"${PYTHON:-python3}" deploy/ask.py --model "$MODEL_DIR/client" --keys "$keys" ${1:+--clear "$1"}
