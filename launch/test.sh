#!/usr/bin/env bash
# Installs expert_iter and its test tools into .venv and runs the tests.
set -euo pipefail

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  cat <<'HELP'
Usage: bash launch/test.sh [ARGUMENT...]

Makes .venv in the project's directory, installs expert_iter and its test tools there, and runs the
tests in two processes. Arguments are passed to pytest, for example
  bash launch/test.sh tests/search -x
  bash launch/test.sh --slow    # also the slowest tests

BASE_PYTHON  Python 3.11 or newer, to make .venv (python3)
HELP
  exit
fi

# shellcheck source=launch/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
install test
echo "Running the tests"
exec "$PYTHON" -m pytest -n 2 -q "$@"
