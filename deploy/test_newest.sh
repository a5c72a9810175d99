#!/usr/bin/env bash
# Tests the newest Python that is installed, if that is newer than the one of .venv: test_newest.sh FOLDER.
# torch is never fetched: without a CPU build of it at hand, the tests that need it skip themselves.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-newest}

newest() {
    local pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
    { for minor in $(seq 30 -1 11); do command -v "python3.$minor" || true; done
      ls -d "$pyenv"/3.*/bin/python3 2>/dev/null || true; } |
        while read -r python; do
            "$python" -c 'import sys; v = sys.version_info
if v.releaselevel == "final": print(*v[:3], sys.executable)' 2>/dev/null || true
        done | sort -n -k1,1 -k2,2 -k3,3 | tail -1
}

read -r major minor _ python <<<"$(newest)" || true
have=$(.venv/bin/python -c 'import sys; print(sys.version_info[1])')
if [ "${major:-0}" != 3 ] || [ "$minor" -le "$have" ]; then
    echo "SKIPPED: no Python newer than 3.$have is installed"
    exit 0
fi
echo "testing with $("$python" --version)"
if [ "$(cat "$folder/.python" 2>/dev/null)" != "$python" ]; then
    rm -rf "$folder"
    "$python" -m venv "$folder"
    echo "$python" >"$folder/.python"
fi
bin=$folder/bin
"$bin/python" -m pip install --quiet --no-deps --requirement requirements.lock
torch=$(sed -n 's/^torch==/torch==/p' constraints.txt)
"$bin/python" -m pip install --quiet --no-deps --only-binary :all: "$torch+cpu" 2>/dev/null ||
    echo "no CPU build of $torch for this Python is at hand: tests that need it skip themselves"
"$bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
"$bin/python" -m pytest -n 2 --dist worksteal --hypothesis-profile fast -m "not slow and not processes"
"$bin/python" -m pytest -m processes tests/parties
