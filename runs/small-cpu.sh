#!/usr/bin/env bash
# The recipe of `small` for two CPU cores, as far as they go.
# Stop it at any moment (Ctrl-C, kill, power cut) and run it again: it goes on where it was.
# Needs kineograph[train] and a C++ compiler (the renderer is compiled).
#   runs/small-cpu.sh [RUN FOLDER]
# small-cpu/done holds what is finished (tokenizer, text encoder, VAE, upsampler and interpolator, in
# 8 bits): copied into the run folder first, those stages are skipped, and what they need.
#   mkdir -p out/small && cp -r runs/small-cpu/done/. out/small/
# The model is then in RUN FOLDER/small: kineo generate --model RUN_FOLDER/small "a red ball"
set -euo pipefail  # a stage that is interrupted or fails ends the script
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-out/small}
stages=(latents dit fewstep)
for last in upsampler interpolator; do
  [ -e "$run/$last/$last.safetensors" ] || stages=("${stages[@]}" "$last")
done
[ -e "$run/text/text.safetensors" ] || stages=(text "${stages[@]}")
[ -e "$run/tokenizer/tokenizer.json" ] || stages=(tokenizer "${stages[@]}")
[ -e "$run/vae/vae.safetensors" ] || stages=(clips vae_first vae "${stages[@]}")
for stage in "${stages[@]}"; do
  echo "== $stage"
  kineo train "${stage%_first}" "$here/small-cpu/$stage.py" --out "$run/$stage" --resume
done
kineo assemble "$run" -o "$run/small"
