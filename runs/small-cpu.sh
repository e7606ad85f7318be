#!/usr/bin/env bash
# The recipe of `small` for two CPU cores, as far as they go.
# Stop it at any moment (Ctrl-C, kill, power cut) and run it again: it goes on where it was.
# Needs kineograph[train] and a C++ compiler (the renderer is compiled).
#   runs/small-cpu.sh [RUN FOLDER]
# small-cpu/done holds what two cores have made so far, in 8 bits: a model as it is,
#   kineo assemble runs/small-cpu/done -o out/small --bits 8 && kineo generate --model out/small "a red ball"
# or, copied into the run folder first, stages that are skipped, and what they need. Its transformer
# is trained on if it lies in a folder `before`; without one it is trained anew:
#   mkdir -p out/run && cp -r runs/small-cpu/done/. out/run/ && mv out/run/fewstep out/run/before
# The model is then in RUN FOLDER/small: kineo generate --model RUN_FOLDER/small "a red ball"
set -euo pipefail  # a stage that is interrupted or fails ends the script
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-out/small}
stages=()
few="$run/fewstep" on=
[ -e "$run/before" ] && on=_on
if [ ! -e "$few/dit.safetensors" ] || [ -e "$few/checkpoint.pt" ]; then
  stages=(latents "dit$on" fewstep)
fi
for last in upsampler interpolator; do
  [ -e "$run/$last/$last.safetensors" ] || stages=("${stages[@]}" "$last")
done
[ -e "$run/text/text.safetensors" ] || stages=(text "${stages[@]}")
[ -e "$run/tokenizer/tokenizer.json" ] || stages=(tokenizer "${stages[@]}")
[ -e "$run/vae/vae.safetensors" ] || stages=(clips vae_first vae "${stages[@]}")
for stage in "${stages[@]}"; do
  echo "== $stage"
  kind=${stage%_first}
  kineo train "${kind%_on}" "$here/small-cpu/$stage.py" --out "$run/${stage%_on}" --resume
done
kineo assemble "$run" -o "$run/small"
