#!/usr/bin/env bash
# A CPU base image where no registry is in reach: Debian bookworm with its Python 3.11, made by debootstrap, as root.
#   containers/base.sh [ARCHIVE]     ARCHIVE: a .tar file to import; made first where it is not there
# Prints the image's name. Does nothing where the engine has it: the same files imported again are another image.
# DEBIAN_MIRROR names a mirror, DOCKER_HOST an engine.
set -euo pipefail
name=tdbench-base:bookworm

if ! docker image inspect "$name" >/dev/null 2>&1; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/tdbench-base.XXXXXX")
  trap 'rm -rf --one-file-system "$folder"' EXIT
  archive=${1:-$folder/base.tar}
  if [ ! -f "$archive" ]; then
    debootstrap --variant=minbase --include=python3,python3-venv bookworm "$folder/root" ${DEBIAN_MIRROR:-} >&2
    rm -rf "$folder"/root/var/cache/apt/* "$folder"/root/var/lib/apt/lists/*
    tar --numeric-owner --sort=name --exclude='./dev/*' -C "$folder/root" -cf "$archive.part" .
    mv "$archive.part" "$archive"
  fi
  docker import "$archive" "$name" >&2
fi
echo "$name"
