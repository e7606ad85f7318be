#!/bin/sh
# Train the judges of the second world, from nothing: renders 6,000 clips, then about four hours
# on one core. Resumable: give the command again. START=path/to/judges.safetensors goes on from
# the networks of a file instead of from nothing; arguments are those of the module (--help).
set -eu
exec "${PYTHON:-python}" -m kineograph.evaluate.v2.training --out "${OUT:-out/judges-v2}" \
    ${START:+--start "$START"} "$@"
