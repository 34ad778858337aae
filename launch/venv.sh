# shellcheck shell=bash
# Shared functions of quickstart.sh and test.sh, which source this file. Sets ROOT and PYTHON, and
# changes to ROOT.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="$ROOT/.venv/bin/python"
cd "$ROOT"

fail() {
  echo "error: $*" >&2
  exit 1
}

# install [EXTRA]: makes .venv and installs the project with that extra, unless that was done before
# for the same setup.py in the same directory.
install() {
  local extra="${1:-}" base="${BASE_PYTHON:-python3}" stamp wanted
  stamp="$ROOT/.venv/installed${extra:+-$extra}"
  wanted="$ROOT $(cksum <setup.py)"

  if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
    command -v "$base" >/dev/null || fail "Python 3.11 or newer is needed, and there is no $base"
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
      fail "Python 3.11 or newer is needed, and $base is $("$base" -V); name one in BASE_PYTHON"
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
      fail "$base has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)"
    echo "Making .venv"
    "$base" -m venv --clear "$ROOT/.venv" || fail "$base could not make $ROOT/.venv"
  fi
  if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
    echo "Installing expert_iter into .venv (a few minutes the first time)"
    # Compiling everything would double the time; Python compiles what it imports.
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile \
      --editable ".${extra:+[$extra]}" ||
      fail "pip could not install expert_iter; the lines above say why"
    echo "$wanted" | tee "$ROOT/.venv/installed" >"$stamp"  # an extra includes the rest
  fi
}
