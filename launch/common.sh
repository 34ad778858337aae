# shellcheck shell=bash
# Shared functions of the scripts for pods, which source this file. Sets ROOT, the checkout.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
DRY_RUN="${DRY_RUN:-}"  # set by --dry-run: print commands instead of running them

fail() {
  echo "error: $*" >&2
  exit 2
}

# shown WORD...: prints the words as one line, quoted for a shell.
shown() {
  local word line="" escaped="'\\''"
  for word in "$@"; do
    [[ "$word" =~ ^[A-Za-z0-9_./:=@,%+-]+$ ]] || word="'${word//\'/$escaped}'"
    line+=" $word"
  done
  echo "${line# }"
}

# call COMMAND...: runs the command, or prints it in a dry run.
call() {
  if [[ -n "$DRY_RUN" ]]; then shown "$@"; else "$@"; fi
}

# need_workdir: fails unless WORKDIR names the run's directory.
need_workdir() {
  [[ -n "${WORKDIR:-}" ]] ||
    fail "name the run's directory: WORKDIR=gs://BUCKET/PATH, or one that all hosts share"
}

# pack FILE: writes the checkout as a tar.gz, without .venv, runs and caches.
pack() {
  call tar --exclude=.git --exclude=.venv --exclude=./runs --exclude=__pycache__ \
    --exclude='*.egg-info' --exclude='.*_cache' -czf "$1" -C "$ROOT" .
}
