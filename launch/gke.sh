#!/usr/bin/env bash
# Trains on TPUs of a GKE cluster, as an xpk workload.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NAME="${NAME:-expert-iter}"
CLUSTER="${CLUSTER:-}"
TPU_TYPE="${TPU_TYPE:-v6e-16}"
ZONE="${ZONE:-us-east5-b}"
PROJECT="${PROJECT:-}"
IMAGE="${IMAGE:-python:3.12}"
MAX_RESTARTS="${MAX_RESTARTS:-100}"
GRACE_SECONDS="${GRACE_SECONDS:-120}"

help() {
  cat <<'HELP'
Usage: CLUSTER=NAME WORKDIR=gs://BUCKET/PATH bash launch/gke.sh [--dry-run] TRAIN_FLAG...

Starts a workload that trains, on a cluster that `xpk cluster create` made. xpk adds this checkout
to IMAGE. Each pod makes .venv in it, then trains. The cluster restarts pods that are preempted or
fail.

WORKDIR        the run's directory, which the cluster's service account can write
CLUSTER        name of the cluster
NAME           name of the workload (expert-iter)
TPU_TYPE       accelerator type (v6e-16)
ZONE, PROJECT  of the cluster (us-east5-b; gcloud's default project)
IMAGE          Docker image with Python 3.11 or newer and bash (python:3.12)
MAX_RESTARTS   restarts of the workload (100)
GRACE_SECONDS  between SIGTERM and SIGKILL, for saving (120)
HELP
}

case "${1:-}" in
  --help | -h) help && exit ;;
  --dry-run) DRY_RUN=1 && shift ;;
esac
need_workdir
[[ -n "$CLUSTER" ]] || fail "name the cluster: CLUSTER=NAME"
(($#)) || fail "give the flags of expert_iter.train, such as --config=configs/countdown.py"

folder="$(mktemp -d)"  # xpk adds a whole directory to the image, so copy without .venv and runs
trap 'rm -r "$folder"' EXIT
pack "$folder/expert_iter.tgz"
call mkdir "$folder/checkout"
call tar -xzf "$folder/expert_iter.tgz" -C "$folder/checkout"
train="$(shown env WORKDIR="$WORKDIR" bash launch/worker.sh "$@")"
call xpk workload create --workload="$NAME" --cluster="$CLUSTER" --tpu-type="$TPU_TYPE" \
  --zone="$ZONE" ${PROJECT:+--project="$PROJECT"} \
  --base-docker-image="$IMAGE" --script-dir="$folder/checkout" \
  --max-restarts="$MAX_RESTARTS" --restart-on-exit-codes=1,75,76,134 \
  --termination-grace-period-seconds="$GRACE_SECONDS" \
  --command="bash launch/setup.sh tpu && exec $train"
