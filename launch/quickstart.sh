#!/usr/bin/env bash
# Installs expert_iter into .venv and trains a small transformer on Countdown by tree search.
set -euo pipefail

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  cat <<'HELP'
Usage: [WORKDIR=DIR] bash launch/quickstart.sh [FLAG...]

Makes .venv in the project's directory, installs expert_iter there, and trains on Countdown. Run it
again to resume. Flags are passed to `python -m expert_iter.train`, for example
  bash launch/quickstart.sh --config.search.num_simulations=32 --workdir=runs/32

WORKDIR      the run's directory, relative to the project's (runs/countdown)
BASE_PYTHON  Python 3.11 or newer, to make .venv (python3)
HELP
  exit
fi

# shellcheck source=launch/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
install
echo "Training on Countdown"
exec "$PYTHON" -m expert_iter.train \
  --config=configs/countdown.py --workdir="${WORKDIR:-runs/countdown}" "$@"
