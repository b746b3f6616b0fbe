#!/bin/sh
# Installs flisr from the wheels beside this script into a folder of its own. Needs no network and no root, only
# Python 3.11 or newer with venv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:?usage: install.sh FOLDER}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	{ echo "flisr needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
"$python" -c 'import ensurepip, venv' ||
	{ echo "$python lacks venv: install it, on Debian and Ubuntu the package python3-venv" >&2; exit 1; }
"$python" -m venv "$target"
"$target/bin/python" -m pip -qq --disable-pip-version-check install \
	--no-index --find-links "$here/wheels" "flisr[$(cat "$here/extras")]"
cat <<EOF
$("$target/bin/flisr" --version) is installed in $target. Try it: $target/bin/flisr demo
To run agents as services, one step as root for each machine:
  $target/bin/flisr agent unit --scd FILE --interface INTERFACE > /etc/systemd/system/flisr-agent@.service
EOF
