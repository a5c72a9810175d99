#!/usr/bin/env bash
# Makes a separate virtual environment in DIR for the CrypTen baseline; running it again changes nothing.
set -euo pipefail

if [ "$#" -ne 1 ]; then
    echo "usage: install_crypten.sh DIR" >&2
    exit 2
fi
dir=$1
version=0.4.1
pins="$(cd "$(dirname "$0")/../.." && pwd)/constraints.txt"

if [ ! -x "$dir/bin/python" ]; then
    "${PYTHON:-python3.11}" -m venv "$dir"
fi
pip() { "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
installed=$("$dir/bin/python" -c 'import importlib.metadata as m; print(m.version("crypten"))' 2>/dev/null || true)
if [ "$installed" != "$version" ]; then
    pip --requirement "$pins"
    pip numpy pyyaml omegaconf onnx
    # Its other requirements are not imported, and one of them (sklearn) is a retired name that cannot be installed.
    pip --no-deps "crypten==$version"
    # Packages that it installs by mistake under names of others.
    rm -rf "$dir"/lib/python3.*/site-packages/{benchmarks,examples,test}
fi
PYTHONPATH="$(dirname "$0")" "$dir/bin/python" -c 'import crypten_shim, crypten; print("crypten", crypten.__version__)'
