#!/usr/bin/env bash
# The recipe of the shipped `nano` weights: two CPU cores, from nothing.
# Stop it at any moment (Ctrl-C, kill, power cut) and run it again: it goes on where it was.
# Needs kineograph[train] and a C++ compiler (the renderer is compiled).
#   runs/nano-cpu.sh [RUN FOLDER]
# The model is then in RUN FOLDER/nano: kineo generate --model RUN_FOLDER/nano "a red ball"
set -euo pipefail  # a stage that is interrupted or fails ends the script
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-out/nano}
for stage in vae_first vae tokenizer text latents dit upsampler; do
  echo "== $stage"
  kineo train "${stage%_first}" "$here/nano/$stage.py" --out "$run/$stage" --resume
done
kineo assemble "$run" -o "$run/nano"
