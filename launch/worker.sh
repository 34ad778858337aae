#!/usr/bin/env bash
# Runs one host's process of a run on a pod. The other scripts start it on every host.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PYTHON="${PYTHON:-$ROOT/.venv/bin/python}"

help() {
  cat <<'HELP'
Usage: WORKDIR=DIR bash launch/worker.sh [--dry-run] [TRAIN_FLAG...]

Runs `python -m expert_iter.train --workdir=DIR --distributed TRAIN_FLAG...` once, forwards SIGTERM
to it, and exits with code
  0      the run is finished: DIR has summary.json
  76     the run has saved and is not finished: run the same command to resume
  other  that of the training: 2 for a mistake to fix, 75 if another host died

WORKDIR  the run's directory: one that all hosts share, or gs://BUCKET/PATH
PYTHON   the Python to use (.venv/bin/python)
HELP
}

case "${1:-}" in
  --help | -h) help && exit ;;
  --dry-run) DRY_RUN=1 && shift ;;
esac
need_workdir

finished() {  # returns 76 if the run is not finished, another code if that is not known
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

set -m  # a separate process group, so that the program gets each signal once, from this script
"${command[@]}" </dev/null &
program=$!
trap 'kill -TERM "$program" 2>/dev/null || true' TERM INT HUP
while kill -0 "$program" 2>/dev/null; do
  wait "$program" || true  # a trapped signal interrupts wait
done
code=0
wait "$program" || code=$?
if [[ "$code" == 0 ]]; then finished || code=$?; fi
if ((code > 128)); then  # by a signal, so it could not say so itself
  echo "The process of $HOSTNAME ended with code $code: it was killed, ran out of memory, or lost" \
    "process 0; run the same command again on all hosts to resume from the last checkpoint" >&2
fi
exit "$code"
