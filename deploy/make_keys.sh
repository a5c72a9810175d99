#!/bin/sh
# Makes an authority and each role's certificate, and puts into KEYS/ROLE that role's own key and no other.
# The authority's key is never kept: to issue anew, remove the volumes. Running it again changes nothing.
set -eu
umask 077
keys=${KEYS:-/keys}
roles="dealer party0 party1 client"

complete() {
    for role in $roles; do
        # ca.pem is moved last, and equal everywhere only if one run made them all
        cmp -s "$keys/$role/ca.pem" "$keys/dealer/ca.pem" || return 1
        [ -s "$keys/$role/$role.key" ] || return 1
    done
}

if complete; then
    echo "certificates are in place"
    exit 0
fi
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# A certificate names its own role already; with another role's name in it every peer refuses it: no --host dealer.
privinf keygen --out "$made/all" --host localhost --host 127.0.0.1 --json >/dev/null
for role in $roles; do
    rm -f "$keys/$role/ca.pem"
done
for role in $roles; do
    cp "$made/all/$role.key" "$made/all/$role.pem" "$keys/$role/"
    cp "$made/all/ca.pem" "$keys/$role/ca.pem.new"
    mv "$keys/$role/ca.pem.new" "$keys/$role/ca.pem"
done
echo "certificates made"
