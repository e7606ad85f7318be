#!/bin/sh
# Train the judges of `kineo evaluate`, from nothing: about an hour on one core, before any
# model is measured. Resumable: give the command again. VAE=path/to/vae.safetensors mixes in
# clips that the VAE has encoded and decoded.
set -eu
exec "${PYTHON:-python}" -m kineograph.evaluate.training --out "${OUT:-out/judges}" \
    ${VAE:+--vae "$VAE"}
