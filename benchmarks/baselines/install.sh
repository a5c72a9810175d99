#!/usr/bin/env bash
# Makes a separate virtual environment in DIR for the SecretFlow SPU baseline; running it again changes nothing.
set -euo pipefail

if [ "$#" -ne 1 ]; then
    echo "usage: install.sh DIR" >&2
    exit 2
fi
dir=$1
version=0.9.5

if [ ! -x "$dir/bin/python" ]; then
    "${PYTHON:-python3.11}" -m venv "$dir"
fi
installed=$("$dir/bin/python" -c 'import importlib.metadata as m; print(m.version("spu"))' 2>/dev/null || true)
if [ "$installed" != "$version" ]; then
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "spu==$version"
fi
"$dir/bin/python" -c 'import spu; print("spu", spu.__version__)'
