#!/usr/bin/env bash
# `./quickstart --check` on machines that lack something: what is missing is named, with the command that installs it.
# A machine is a folder of links to programs, and nothing else on the PATH.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# Real programs that the script itself needs, and stand-ins for those that it only looks for.
tools=(sh sed dirname id)
looked_for=(cargo rustup cc c++ make bash pkg-config apt-get)

# machine NAME WITHOUT…: a PATH with everything but WITHOUT.
machine() {
  local name=$1 program
  shift
  mkdir "$dir/$name"
  for program in "${tools[@]}"; do ln -s "$(command -v "$program")" "$dir/$name/$program"; done
  for program in "${looked_for[@]}"; do
    case " $* " in *" $program "*) continue ;; esac
    printf '#!/bin/sh\nexit 0\n' > "$dir/$name/$program"
    chmod +x "$dir/$name/$program"
  done
}

# says NAME TEXT…: the check fails and says each TEXT.
says() {
  local name=$1 text
  shift
  if env -i HOME=/nowhere PATH="$dir/$name" ./quickstart --check > "$dir/said" 2>&1; then
    echo "$name: nothing is missing, it says"; cat "$dir/said"; exit 1
  fi
  for text; do
    grep -qF -- "$text" "$dir/said" || { echo "$name: no word of \"$text\" in:"; cat "$dir/said"; exit 1; }
  done
}

machine complete
env -i HOME=/nowhere PATH="$dir/complete" ./quickstart --check > /dev/null || { echo 'a complete machine is refused'; exit 1; }

machine bare cargo rustup cc c++ make pkg-config
says bare 'a C compiler' 'a C++ compiler' 'make' "OpenSSL's headers" 'Rust is not installed' 'https://rustup.rs' \
  'apt-get install -y build-essential make pkg-config libssl-dev'
if grep -qF bash "$dir/said"; then echo 'bash is there and named as missing'; exit 1; fi

machine headless
printf '#!/bin/sh\nexit 1\n' > "$dir/headless/pkg-config"
says headless "OpenSSL's headers (1.1.1 or newer)" 'apt-get install -y libssl-dev'

machine dated rustup
printf '#!/bin/sh\necho "cargo 1.63.0 (fd9c4297c 2022-07-01)"\n' > "$dir/dated/cargo"
says dated "Rust $(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml) or newer is needed, and this is 1.63"

machine fedora make apt-get
printf '#!/bin/sh\nexit 0\n' > "$dir/fedora/dnf"
chmod +x "$dir/fedora/dnf"
says fedora 'dnf install -y make'

machine unknown cc apt-get
says unknown 'a C compiler' 'by the means of your system'
echo 'the check names what is missing on six machines'
