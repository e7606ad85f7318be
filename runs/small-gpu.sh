#!/usr/bin/env bash
# The recipe of `small` for one GPU, cut into pieces of at most MINUTES (9). Each call does what
# is next and ends with status 0 when the model is there, with 130 when more is to be done:
#   until runs/small-gpu.sh RUN_FOLDER; do [ $? -eq 130 ] || break; done
# Stop it at any moment and call it again: it goes on where it was.
# Needs kineograph[train]. The model is then in RUN FOLDER/small. DEVICE=cpu and another folder
# of RECIPES try the same path elsewhere.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-out/small}
recipes=${RECIPES:-$here/small}
end=$(($(date +%s) + 60 * ${MINUTES:-9}))
for stage in clips vae tokenizer text latents dit fewstep upsampler interpolator; do
  [ ! -e "$run/$stage.done" ] || continue
  left=$(((end - $(date +%s)) / 60))
  if [ "$left" -lt 1 ]; then
    echo "time is up before $stage; call again" >&2
    exit 130
  fi
  echo "== $stage, $left minutes left"
  kineo train "$stage" "$recipes/$stage.py" --out "$run/$stage" --resume \
    --device "${DEVICE:-cuda}" --minutes "$left"
  touch "$run/$stage.done"
done
kineo assemble "$run" -o "$run/small"
