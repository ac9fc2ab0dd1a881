#!/bin/sh
# The last step of a run over shards: sends the whole folder once more, which finds everything there, sets the times of folders, and ends with
# exit code 0 only if nothing is missing. Then makes one list of the dataset, by which a copy is proved.
#
#     sbatch --dependency=afterany:ARRAY --requeue slurm-last.sh RUN ROOT HOST[:PORT]
#
# LANX names the program to run.
set -eu
run=$1
root=$2
host=$3
"${LANX:-lanx}" send --report "$run/last.report" "$root/" "$host"
"${LANX:-lanx}" manifest "$run/last.report" -o "$run/manifest"
