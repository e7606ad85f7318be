#!/usr/bin/env bash
# The recipe of `small` for two CPU cores: as far as they go, in the evenings of a week.
# Stop it at any moment (Ctrl-C, kill, power cut) and run it again: it goes on where it was.
# Needs kineograph[train] and a C++ compiler (the renderer is compiled).
#   runs/small-cpu.sh [RUN FOLDER]
# The model is then in RUN FOLDER/small: kineo generate --model RUN_FOLDER/small "a red ball"
set -euo pipefail  # a stage that is interrupted or fails ends the script
here=$(cd "$(dirname "$0")" && pwd)
run=${1:-out/small}
for stage in clips vae_first vae tokenizer text latents dit fewstep upsampler interpolator; do
  echo "== $stage"
  kineo train "${stage%_first}" "$here/small-cpu/$stage.py" --out "$run/$stage" --resume
done
kineo assemble "$run" -o "$run/small"
