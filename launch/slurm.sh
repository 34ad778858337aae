#!/usr/bin/env bash
#SBATCH --job-name=expert_iter
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=expert_iter-%j.log
# Trains on GPU nodes of a Slurm cluster, with one process per node and all its GPUs.
set -euo pipefail
# Slurm runs a copy of this file, so the checkout is the directory where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f launch/common.sh ]]; then
  echo "error: call sbatch in the checkout's own directory: sbatch launch/slurm.sh" >&2
  exit 2
fi
# shellcheck source=launch/common.sh
source launch/common.sh
MAX_RESTARTS="${MAX_RESTARTS:-3}"

help() {
  cat <<'HELP'
Usage: WORKDIR=DIR sbatch [SBATCH_FLAG...] launch/slurm.sh TRAIN_FLAG...
       WORKDIR=DIR bash launch/slurm.sh --dry-run TRAIN_FLAG...

Trains on 2 nodes of 8 GPUs. sbatch's flags change that, for example
  sbatch --nodes=4 --gpus-per-node=4 --partition=long launch/slurm.sh --config=configs/countdown.py
Make .venv first: bash launch/setup.sh cuda12. Two minutes before its time limit the run saves, and
the job is requeued. The job is also requeued when it is preempted or a node fails.

WORKDIR       the run's directory: one that all nodes share, or gs://BUCKET/PATH
MAX_RESTARTS  restarts after failures, without requeueing (3)
HELP
}

case "${1:-}" in
  --help | -h) help && exit ;;
  --dry-run) DRY_RUN=1 && shift ;;
esac
need_workdir
[[ -n "${SLURM_JOB_ID:-}$DRY_RUN" ]] || fail "submit it: sbatch launch/slurm.sh"

# On Slurm, JAX gives a task one GPU by default.
devices="$(seq -s, 0 $((${SLURM_GPUS_ON_NODE:-8} - 1)))"
train() {
  call srun --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_ON_NODE:-1}" --kill-on-bad-exit=0 \
    env JAX_LOCAL_DEVICE_IDS="$devices" bash launch/worker.sh "$@"
}
requeue() { call scontrol requeue "${SLURM_JOB_ID:-JOB_ID}"; }

if [[ -n "$DRY_RUN" ]]; then
  train "$@"
  requeue
  exit
fi
for ((again = 0; ; again++)); do
  code=0
  train "$@" || code=$?
  case "$code" in
    0 | 2) exit "$code" ;;
    76) requeue && exit ;;
  esac
  echo "The training ended with code $code (start $((again + 1)) of $((MAX_RESTARTS + 1)))" >&2
  ((again < MAX_RESTARTS)) || exit "$code"
done
