#!/usr/bin/env bash
# Trains with several processes on this machine's CPU, as on a pod.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PYTHON="${PYTHON:-$ROOT/.venv/bin/python}"
GRACE_SECONDS="${GRACE_SECONDS:-30}"
LOG_DIR="${LOG_DIR:-}"

help() {
  cat <<'HELP'
Usage: bash launch/local_pod.sh [-n PROCESSES] [-d DEVICES] [--restart N] [--dry-run] TRAIN_FLAG...

Runs `python -m expert_iter.train TRAIN_FLAG...` in PROCESSES processes (2) on the CPU, each with
DEVICES devices (2). For example
  bash launch/local_pod.sh -n 2 -d 4 --config=configs/countdown.py --workdir=runs/pod

Process 0 writes to the terminal, the others to files. If one fails, the others get SIGTERM, then
SIGKILL. The exit code is that of the first failure; it is 75 (another process died) only if no
process failed otherwise. All processes get SIGTERM and Ctrl-C.

--restart N    restart at most N times, until the run is finished; not after code 2 (a mistake to
               fix) or a signal
GRACE_SECONDS  between SIGTERM and SIGKILL (30)
LOG_DIR        directory for the other processes' output (a new one)
PYTHON         the Python to use (.venv/bin/python)
HELP
}

processes=2 devices=2 restarts=0
while (($#)); do
  case "$1" in
    --help | -h) help && exit ;;
    --dry-run) DRY_RUN=1 && shift ;;
    -n | -d | --restart)
      [[ "${2:-}" =~ ^[0-9]+$ ]] || fail "$1 needs a number"
      case "$1" in -n) processes=$2 ;; -d) devices=$2 ;; *) restarts=$2 ;; esac
      shift 2 ;;
    *) break ;;
  esac
done
((processes > 0 && devices > 0)) || fail "-n and -d must be at least 1"
(($#)) || fail "give the flags of expert_iter.train, such as --config=FILE --workdir=DIR"
workdir=""
for flag in "$@"; do
  case "$flag" in --workdir=*) workdir="${flag#*=}" ;; esac
done

free_port() {  # below the range of ports that the system assigns
  local port
  while port=$((20000 + RANDOM % 12000)); (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# process I: sets WORDS to the command of process I.
process() {
  WORDS=(env "EXPERT_ITER_COORDINATOR=127.0.0.1:$port" "EXPERT_ITER_PROCESSES=$processes"
    "EXPERT_ITER_PROCESS=$1" JAX_PLATFORMS=cpu
    "XLA_FLAGS=${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=$devices"
    "$PYTHON" -m expert_iter.train "${flags[@]}")
}

log() { echo "$LOG_DIR/process-$1.log"; }

# signal_all SIGNAL: sends a signal to the processes that have not ended.
signal_all() {
  local i
  for i in "${!pids[@]}"; do
    if [[ -z "${codes[i]}" ]]; then kill "-$1" "${pids[i]}" 2>/dev/null || true; fi
  done
}

on_signal() {
  signalled="$1"
  signal_all "$1"
}

# note I: records the exit code of process I, and sets `failure` to the pod's exit code.
note() {
  local code=0
  wait "${pids[$1]}" 2>/dev/null || code=$?
  codes[$1]=$code
  ((code)) || return 0
  if [[ -n "$deadline" && "$code" =~ ^(137|143)$ ]]; then return; fi  # killed by this script
  if ((failure == 0 || (failure == 75 && code != 75))); then failure=$code; fi
  [[ -z "$signalled" && -z "$deadline" ]] || return 0
  echo "Process $1 ended with code $code; ending the others" >&2
  if (($1)); then tail -n 20 "$(log "$1")" >&2; fi
}

# pod: runs all processes until they end; sets `failure` to the exit code.
pod() {
  local i left port
  port="$(free_port)" failure=0 deadline="" pids=() codes=()
  for ((i = 0; i < processes; i++)); do
    process "$i"
    if ((i)); then "${WORDS[@]}" >>"$(log "$i")" 2>&1 & else "${WORDS[@]}" & fi
    pids+=("$!") codes+=("")
  done
  while :; do
    left=0
    for i in "${!pids[@]}"; do
      [[ -z "${codes[i]}" ]] || continue
      if kill -0 "${pids[i]}" 2>/dev/null; then left=1; else note "$i"; fi
    done
    ((left)) || break
    if ((failure)) && [[ -z "$deadline" ]]; then
      deadline=$((SECONDS + GRACE_SECONDS))
      [[ -n "$signalled" ]] || signal_all TERM
    fi
    if [[ -n "$deadline" ]] && ((SECONDS > deadline)); then signal_all KILL; fi
    sleep 0.1
  done
}

flags=("$@")
if [[ -n "$DRY_RUN" ]]; then
  port="$(free_port)" LOG_DIR="${LOG_DIR:-/tmp}"
  for ((i = 0; i < processes; i++)); do
    process "$i"
    line="$(shown "${WORDS[@]}")"
    if ((i)); then line+=" >>$(shown "$(log "$i")") 2>&1"; fi
    echo "$line"
  done
  exit
fi

LOG_DIR="${LOG_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/expert_iter-pod.XXXXXX")}"
mkdir -p "$LOG_DIR"
for ((i = 1; i < processes; i++)); do echo "Process $i writes to $(log "$i")"; done
signalled=""
trap 'on_signal TERM' TERM
trap 'on_signal INT' INT
set -m  # otherwise background processes ignore Ctrl-C
for ((again = 0; ; again++)); do
  pod
  if ((failure == 0)) && [[ -z "$workdir" || -e "$workdir/summary.json" ]]; then exit 0; fi
  if ((failure == 2 || again >= restarts)) || [[ -n "$signalled" ]]; then exit "$failure"; fi
  echo "The pod ended with code $failure; restart $((again + 1)) of $restarts" >&2
done
