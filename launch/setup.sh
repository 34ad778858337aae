#!/usr/bin/env bash
# Makes .venv on a host of a pod, with JAX for its accelerator.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

help() {
  cat <<'HELP'
Usage: bash launch/setup.sh [--dry-run] tpu|cuda12|cuda13

Makes .venv in the checkout and installs expert_iter there, with JAX for TPUs or NVIDIA GPUs. If
python3 is older than 3.11, as on TPU VMs, uv installs a newer one. A second run changes nothing.
At the end one line says which devices JAX finds on this host. Without any it is a warning: a login
node has none.
HELP
}

case "${1:-}" in
  --help | -h) help && exit ;;
  --dry-run) DRY_RUN=1 && shift ;;
esac
accelerator="${1:-}"
[[ "$accelerator" =~ ^(tpu|cuda12|cuda13)$ ]] || fail "name the accelerator: tpu, cuda12 or cuda13"

cd "$ROOT"
if [[ ! -x .venv/bin/pip ]]; then
  usable='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'
  if python3 -c "$usable" 2>/dev/null; then
    call python3 -m venv .venv
  else
    call python3 -m pip install --quiet --user uv
    call python3 -m uv venv --quiet --seed --python=3.12 .venv
  fi
fi
call .venv/bin/pip install --quiet --disable-pip-version-check --editable ".[$accelerator]"
code=0
call timeout --kill-after=10 120 .venv/bin/python launch/check.py "$accelerator" || code=$?
case "$code" in
  124 | 137) echo "warning: JAX did not start the $accelerator devices within 120 seconds" >&2 ;;
  *) exit "$code" ;;
esac
