# SPDX-License-Identifier: Apache-2.0
# For scripts that need tools of Debian's packages; they set the arrays tools and packages, and call install_tools. A tool is a
# program, or the path of a file.

missing() {
	for tool in "${tools[@]}"; do
		command -v "$tool" >/dev/null || [[ -f $tool ]] || echo "$tool"
	done
}

install_tools() {
	[[ -n $(missing) ]] || return 0
	if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
		echo "not installed, and only root can on Debian: $(missing | xargs)" >&2
		exit 1
	fi
	echo "installing $(missing | xargs)"
	apt-get update -qq
	# No service is to be started by the installation.
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
	[[ -z $(missing) ]] || { echo "not installed: $(missing | xargs)" >&2; exit 1; }
}
