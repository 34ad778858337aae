#!/usr/bin/env bash
# Trains on a Cloud TPU VM, one host or a pod slice, and recreates it after a preemption.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NAME="${NAME:-expert-iter}"
ZONE="${ZONE:-us-east5-b}"
ACCELERATOR_TYPE="${ACCELERATOR_TYPE:-v6e-16}"
RUNTIME_VERSION="${RUNTIME_VERSION:-v2-alpha-tpuv6e}"
SPOT="${SPOT:-0}"
PROJECT="${PROJECT:-}"
WORKER="${WORKER:-0}"
POLL_SECONDS="${POLL_SECONDS:-30}"
MAX_RESTARTS="${MAX_RESTARTS:-10}"

help() {
  cat <<'HELP'
Usage: [VARIABLE=VALUE...] bash launch/tpu_vm.sh [--dry-run] COMMAND [ARGUMENT...]

  watch TRAIN_FLAG...  does create, setup and run, again after each preemption or failure, until
                       the run is finished
  create               requests the TPU as a queued resource, and waits until it is ready
  setup                copies this checkout to all workers and makes .venv there
  run TRAIN_FLAG...    starts the training on all workers, in tmux
  logs                 follows the training's output on one worker
  ssh [ARGUMENT...]    opens a shell on one worker; arguments are passed to gcloud
  fetch [DIR]          copies the run's directory into DIR (runs)
  delete               deletes the TPU

WORKDIR           the run's directory: gs://BUCKET/PATH, or one that all workers share
NAME              name of the TPU and of its queued resource (expert-iter)
ZONE              Google Cloud zone (us-east5-b)
PROJECT           Google Cloud project (gcloud's default)
ACCELERATOR_TYPE  type of the TPU (v6e-16)
RUNTIME_VERSION   software on the TPU VM (v2-alpha-tpuv6e)
SPOT              1 requests spot capacity, which is cheaper and may be preempted (0)
WORKER            index of the worker for logs and ssh (0)
POLL_SECONDS      between checks by create and watch (30)
MAX_RESTARTS      restarts by watch on the same TPU, in a row, before it gives up (10)
HELP
}

tpus() {  # GROUP COMMAND ARGUMENT...
  call gcloud compute tpus "$1" "$2" --zone="$ZONE" ${PROJECT:+--project="$PROJECT"} "${@:3}"
}
on_all() { tpus tpu-vm ssh "$NAME" --worker=all --command="$1"; }

request() {
  local spot=()
  if [[ "$SPOT" == 1 ]]; then spot=(--spot); fi
  tpus queued-resources create "$NAME" --node-id="$NAME" --accelerator-type="$ACCELERATOR_TYPE" \
    --runtime-version="$RUNTIME_VERSION" ${spot[@]+"${spot[@]}"}
}

delete() { tpus queued-resources delete "$NAME" --force --quiet; }

queued_state() {
  tpus queued-resources list --filter="name ~ \"/$NAME\$\"" --format='value(state.state)'
}

tpu_state() { tpus tpu-vm list --filter="name ~ \"/$NAME\$\"" --format='value(state)'; }

# look: prints the queued resource's state, or its TPU's once that is ACTIVE; NONE if there is none.
look() {
  local state
  state="$(queued_state)" || return
  if [[ "$state" == ACTIVE ]]; then
    state="$(tpu_state)" || return
    state="${state:-GONE}"
  fi
  echo "${state:-NONE}"
}

printed="" since=$SECONDS
say() {  # prints a message unless it repeats the last one
  if [[ "$1" != "$printed" ]]; then echo "$(date +%H:%M:%S) $1" && printed="$1"; fi
}

wait_until_ready() {
  local state minutes
  while state="$(look)" || state="no answer"; do
    case "$state" in
      READY) say "READY after $(((SECONDS - since) / 60)) minutes" && return ;;
      FAILED | SUSPENDED) fail "the request is $state; bash launch/tpu_vm.sh delete, then create" ;;
    esac
    minutes=$(((SECONDS - since) / 60))
    say "$state, ${minutes%?}0 minutes"  # one line every ten minutes
    sleep "$POLL_SECONDS"
  done
}

INSTALL='mkdir -p expert_iter && tar -xzf expert_iter.tgz -C expert_iter'
INSTALL+=' && bash expert_iter/launch/setup.sh tpu'
INSTALL+=' && { command -v tmux >/dev/null || sudo apt-get install -y -q tmux; }'

send() { pack "$1" && tpus tpu-vm scp "$1" "$NAME:" --worker=all && on_all "$INSTALL"; }

setup() {
  local folder code=0
  folder="$(mktemp -d)"
  send "$folder/expert_iter.tgz" || code=$?
  rm -r "$folder"
  return "$code"
}

run() {
  local line
  line="cd expert_iter && $(shown env WORKDIR="$WORKDIR" bash launch/worker.sh "$@")"
  line="($line) >>expert_iter/train.log 2>&1; echo \$? >expert_iter/exit_code"
  on_all "rm -f expert_iter/exit_code && $(shown tmux new-session -d -s expert_iter "$line")"
}

# Prints a worker's exit code (see launch/worker.sh), "running", or "none" if nothing was started.
STATUS='tmux has-session -t =expert_iter 2>/dev/null && echo STATUS=running'
# shellcheck disable=SC2016  # the worker expands it
STATUS+=' || echo STATUS=$(cat expert_iter/exit_code 2>/dev/null || echo none)'

statuses() {
  local answer
  answer="$(on_all "$STATUS")" || return
  echo "$answer" | sed -n 's/.*STATUS=\([a-z0-9]*\).*/\1/p' | sort -u | tr '\n' ' '
}

# start STATUSES TRAIN_FLAG...: starts the training; sets up the workers first where needed.
start() {
  local before="$1" && shift
  if [[ "$before" == *none* ]]; then
    say "setting up"
    setup || { say "setup failed" && return; }
  fi
  if run "$@"; then say "started"; else say "could not start"; fi
}

attempts=0
attempt() {  # counts failures in a row, of the training on a TPU or of requests for one
  ((attempts++ <= MAX_RESTARTS)) || fail "gave up after $MAX_RESTARTS restarts in a row: $1"
}

# follow TRAIN_FLAG...: keeps the training running on a READY TPU; succeeds once it is finished.
follow() {
  local now
  now=" $(statuses)" || now=" "
  case "$now" in
    " ") say "no answer from the workers" ;;
    *" running "*) say "running" ;;
    *" 0 "*) return 0 ;;
    *" 2 "*) fail "the training ended with a mistake to fix: bash launch/tpu_vm.sh logs" ;;
    *)
      say "ended with code$now"
      if [[ "$now" == " 76 " ]]; then attempts=0; fi
      attempt "bash launch/tpu_vm.sh logs shows why; the TPU still exists"
      start "$now" "$@" ;;
  esac
  return 1
}

watch() {
  local state
  while :; do
    state="$(look)" || state="no answer"
    say "$state"
    case "$state" in
      NONE)
        attempt "the request for the TPU fails"
        if request; then attempts=0; fi ;;
      FAILED | SUSPENDED | PREEMPTED | TERMINATED | STOPPED | GONE)
        delete || say "cannot delete" ;;
      READY) if follow "$@"; then break; fi ;;
    esac
    sleep "$POLL_SECONDS"
  done
  echo "Finished: $WORKDIR. The TPU still exists: bash launch/tpu_vm.sh delete"
}

plan() {  # the commands of create, or with TRAIN_FLAG... those of watch, if nothing fails
  if (($#)); then queued_state; fi
  request
  queued_state
  tpu_state
  if (($#)); then setup && run "$@" && on_all "$STATUS"; fi
}

fetch() {
  local directory="${1:-runs}"
  call mkdir -p "$directory"
  case "$WORKDIR" in
    gs://*) call gcloud storage cp --recursive "$WORKDIR" "$directory" ;;
    *) tpus tpu-vm scp --recurse "$NAME:$WORKDIR" "$directory" ;;
  esac
}

if [[ "${1:-}" == --dry-run ]]; then DRY_RUN=1 && shift; fi
command="${1:-}"
if (($#)); then shift; fi
case "$command" in
  --help | -h) help ;;
  create) if [[ -n "$DRY_RUN" ]]; then plan; else request && wait_until_ready; fi ;;
  setup | delete) "$command" ;;
  run | fetch) need_workdir && "$command" "$@" ;;
  watch) need_workdir && if [[ -n "$DRY_RUN" ]]; then plan "$@"; else watch "$@"; fi ;;
  logs)
    tpus tpu-vm ssh "$NAME" --worker="$WORKER" --command='tail -n 100 -F expert_iter/train.log' ;;
  ssh) tpus tpu-vm ssh "$NAME" --worker="$WORKER" "$@" ;;
  *) fail "there is no command '$command'; --help lists them" ;;
esac
