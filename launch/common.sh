# shellcheck shell=bash
# Sourced by the scripts that start runs on pods. Sets ROOT, the checkout.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
DRY_RUN="${DRY_RUN:-}"  # --dry-run sets it: print commands and run none

fail() {
  echo "error: $*" >&2
  exit 2
}

# shown WORD...: the words as one line that a shell reads back as these words.
shown() {
  local word line="" escaped="'\\''"
  for word in "$@"; do
    [[ "$word" =~ ^[A-Za-z0-9_./:=@,%+-]+$ ]] || word="'${word//\'/$escaped}'"
    line+=" $word"
  done
  echo "${line# }"
}

# call COMMAND...: runs it; in a dry run prints it.
call() {
  if [[ -n "$DRY_RUN" ]]; then shown "$@"; else "$@"; fi
}

# need_workdir: the run's directory, which every process must see, is in WORKDIR.
need_workdir() {
  [[ -n "${WORKDIR:-}" ]] ||
    fail "say where the run is kept: WORKDIR=gs://BUCKET/PATH, or a directory that all hosts share"
}

# pack FILE: the checkout as a tar.gz, without what is made anew elsewhere.
pack() {
  call tar --exclude=.git --exclude=.venv --exclude=./runs --exclude=__pycache__ \
    --exclude='*.egg-info' --exclude='.*_cache' -czf "$1" -C "$ROOT" .
}
