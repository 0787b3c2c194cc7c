#!/bin/sh
# The steps that all images share. Run by their Dockerfiles, in stages whose files do not stay in the image.
#   install.sh python VERSION             /opt/python where the base has no such Python, and the environment /opt/tdbench
#   install.sh wheels FOLDER PREFIX       the packages of /build/FOLDER/requirements.txt, below PREFIX
set -eu
export PIP_CONFIG_FILE=/build/pip/pip.conf PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# Byte code is written now, since the root is read-only where the image runs, and holds no time, so that the same
# packages give the same layer. Some packages bring files of other Pythons: those stay as they are.
compile() {
  /opt/tdbench/bin/python -m compileall -f -qq -r 30 -j 0 --invalidation-mode unchecked-hash "$1" || true
}

make_python() {
  python=python$1
  mkdir -p /opt/python
  if [ -f /build/python/python.tar.gz ]; then
    tar -xzf /build/python/python.tar.gz -C /opt
    python=/opt/python/bin/python$1
  fi
  "$python" -m venv /opt/tdbench
  # The requirements may bring another, and the two would be mixed.
  /opt/tdbench/bin/python -m pip uninstall --quiet --yes setuptools
  compile /opt/python
}

install_wheels() {
  # The list is complete, so nothing is resolved; where a line has a hash, pip takes no other file.
  /opt/tdbench/bin/python -m pip install --no-deps --ignore-installed --no-compile --only-binary :all: \
    --find-links "/build/$1" --prefix "$2" -r "/build/$1/requirements.txt"
  if [ -f "/build/$1/cpu" ] && ls "$2"/lib/python*/site-packages/torch/lib/libtorch_cuda* >/dev/null 2>&1; then
    echo "the index gave a CUDA build of torch: set PIP_EXTRA_INDEX_URL to an index of CPU builds" >&2
    exit 1
  fi
  compile "$2"
}

case "$1" in
  python) make_python "$2" ;;
  wheels) install_wheels "$2" "$3" ;;
  *) echo "install.sh: unknown step '$1'" >&2; exit 2 ;;
esac
