#!/bin/sh
# Makes a virtual environment with a Python that this project supports:  new_venv.sh FOLDER [PYTHON]
# Without PYTHON it takes the first one that fits; 3.11 comes first, because the whole test suite runs on it.
set -eu
folder=$1
named=${2:-}

fits() { "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null; }

found=
for python in ${named:-python3.11 python3.12 python3.13 python3}; do
  if fits "$python"; then found=$python && break; fi
done
if [ -z "$found" ]; then
  tried=${named:-python3}
  version=$("$tried" -c 'import platform; print("Python", platform.python_version())' 2> /dev/null) || version="no Python"
  echo "ERROR: Python 3.11, 3.12 or 3.13 with venv is needed, and $tried is $version. Install one (Debian, Ubuntu:" \
    "sudo apt install python3-venv, or python3.11-venv; Fedora: sudo dnf install python3.12; macOS: brew install" \
    "python@3.12), or name one: make serve PYTHON=/path/to/python3.12" >&2
  exit 1
fi
# A folder that is left half made would pass for an environment next time.
"$found" -m venv --clear "$folder" || { rm -rf "$folder"; exit 1; }
