#!/usr/bin/env bash
# One host's process of a run on a pod. The other scripts start it on every host.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PYTHON="${PYTHON:-$ROOT/.venv/bin/python}"

help() {
  cat <<'HELP'
Usage: WORKDIR=DIR bash launch/worker.sh [--dry-run] [TRAIN_FLAG...]

Runs `python -m expert_iter.train --workdir=DIR --distributed TRAIN_FLAG...` once, hands SIGTERM on
to it, and ends with
  0      the run is finished: DIR has summary.json
  76     the run was saved and is not finished: start the same command again
  other  the program's own code: 2 a mistake of yours, 75 another host died

WORKDIR  where the run is kept: a directory that all hosts share, or gs://BUCKET/PATH
PYTHON   the Python to use (.venv/bin/python)
HELP
}

case "${1:-}" in
  --help | -h) help && exit ;;
  --dry-run) DRY_RUN=1 && shift ;;
esac
need_workdir

finished() {  # 76 if it is not, another code if that cannot be told
  case "$WORKDIR" in
    gs://*) "$PYTHON" -c 'import sys; from etils import epath
sys.exit(0 if epath.Path(sys.argv[1]).exists() else 76)' "$WORKDIR/summary.json" ;;
    *) [[ -e "$WORKDIR/summary.json" ]] || return 76 ;;
  esac
}

cd "$ROOT"
command=("$PYTHON" -m expert_iter.train --workdir="$WORKDIR" --distributed "$@")
if [[ -n "$DRY_RUN" ]]; then
  shown "${command[@]}"
  exit
fi

set -m  # in a process group of its own the program gets each signal once, from here
"${command[@]}" </dev/null &
program=$!
trap 'kill -TERM "$program" 2>/dev/null || true' TERM INT HUP
while kill -0 "$program" 2>/dev/null; do
  wait "$program" || true  # a trapped signal ends it early
done
code=0
wait "$program" || code=$?
if [[ "$code" == 0 ]]; then finished || code=$?; fi
exit "$code"
