# An engine for the tests of containers, sourced by .ci/run. All that belongs to it lies in one temporary folder, so it
# runs beside any other engine and leaves nothing behind.

engine_folder=""
engine_pid=""
#: Why there are no containers, in one line; empty while there are.
engine_problem=""

# Use the engine that answers, else install and start one. Sets DOCKER_HOST, or engine_problem.
engine_start() {
  if engine_answers; then
    echo "engine: the one that answers"
  elif engine_install dockerd docker.io && engine_install docker docker-cli; then
    # The package's own service may have come up.
    engine_answers || engine_launch
  else
    engine_problem="no Docker engine answers, and docker.io cannot be installed"
  fi
}

engine_answers() {
  docker version >/dev/null 2>&1
}

# engine_install PROGRAM PACKAGE: what is missing, by apt-get and as root; its complaint goes to stderr.
engine_install() {
  command -v "$1" >/dev/null && return
  echo "engine: installing $2" >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"; } >/dev/null </dev/null
}

engine_launch() {
  engine_folder=$(mktemp -d "${TMPDIR:-/tmp}/tdbench-engine.XXXXXX")
  export DOCKER_HOST="unix://$engine_folder/socket"
  # No bridge: what we start has no network, and so nothing of the host's is changed.
  dockerd --data-root "$engine_folder/data" --exec-root "$engine_folder/exec" --pidfile "$engine_folder/pid" \
    --host "$DOCKER_HOST" --iptables=false --ip6tables=false --bridge=none >"$engine_folder/log" 2>&1 </dev/null &
  engine_pid=$!
  for _ in {1..120}; do
    if engine_answers; then
      echo "engine: started in $engine_folder"
      return
    fi
    kill -0 $engine_pid 2>/dev/null || break
    sleep 0.5
  done
  engine_problem="dockerd does not start: $(tail -n 1 "$engine_folder/log")"
}

# The base image for the CPU; prints its name, and the whole log where it cannot be made.
engine_base() {
  [ -z "$engine_problem" ] || return 0
  local log status=0
  log=$(mktemp)
  { engine_install debootstrap debootstrap && containers/base.sh; } 2>"$log" || { status=$?; cat "$log" >&2; }
  rm -f "$log"
  return $status
}

# Stop what engine_start started, and remove it. An engine that was there before is left alone.
engine_stop() {
  [ -n "$engine_folder" ] || return 0
  kill $engine_pid 2>/dev/null || true
  wait $engine_pid 2>/dev/null || true
  # One that was killed leaves mounts, the latest on top.
  awk -v folder="$engine_folder/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | tac | xargs -r umount
  rm -rf --one-file-system "$engine_folder"
}
