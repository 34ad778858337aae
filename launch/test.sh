#!/usr/bin/env bash
# Installs expert_iter and its test tools into .venv and runs the tests.
set -euo pipefail

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  cat <<'HELP'
Usage: bash launch/test.sh [ARGUMENT...]

Makes .venv in the project's directory, installs what is needed there, and runs the tests on two
processes. Arguments go to pytest, for example
  bash launch/test.sh tests/search -x
  bash launch/test.sh --slow    # also the tests that take longest

BASE_PYTHON  the Python, 3.11 or newer, that .venv is made from (python3)
HELP
  exit
fi

# shellcheck source=launch/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
install test
echo "Running the tests"
exec "$PYTHON" -m pytest -n 2 -q "$@"
