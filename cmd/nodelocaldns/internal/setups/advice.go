// SPDX-License-Identifier: Apache-2.0

package setups

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// raw are the messages of Go's library that plugins pass on as they are, and what they mean to an operator.
var raw = []struct {
	message *regexp.Regexp
	advice  string
}{
	{regexp.MustCompile(`time: missing unit in duration "?([^"]*)"?`), "a duration needs a unit, such as ${1}s"},
	{regexp.MustCompile(`time: unknown unit "([^"]*)" in duration "([^"]*)"`), `"$1" is no unit of time: want ms, s, m or h, as in 5s`},
	{regexp.MustCompile(`time: invalid duration "([^"]*)"`), `"$1" is no duration: want a number and a unit, such as 5s`},
	{regexp.MustCompile(`strconv\.ParseBool: parsing "([^"]*)": invalid syntax`), `"$1" is neither true nor false`},
	{regexp.MustCompile(`strconv\.\w+: parsing "([^"]*)": invalid syntax`), `"$1" is not a number`},
	{regexp.MustCompile(`strconv\.\w+: parsing "([^"]*)": value out of range`), `"$1" is too large a number`},
	{regexp.MustCompile(`address (\S*): missing port in address`), `"$1" lacks a port: want ADDRESS:PORT, or :PORT for all addresses`},
	{regexp.MustCompile(`address (\S*): too many colons in address`), `"$1" is not ADDRESS:PORT: an IPv6 address belongs in brackets, as in [::1]:8080`},
	{regexp.MustCompile(`Wrong argument count or unexpected line ending after '([^']*)'`), `arguments are missing, or too many, or not known, after "$1"`},
}

// advise returns the message with what helps, in one line.
func advise(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	for _, r := range raw {
		message = r.message.ReplaceAllString(message, r.advice)
	}
	return message
}

var (
	absentFile = regexp.MustCompile(`/[^"\s]*"?: no such file or directory`)
	absentLink = regexp.MustCompile(`not a valid IP address or interface name: "?([A-Za-z][\w-]*)"?$`)
)

// notHere reports whether the message is about something that this machine lacks, and the one that serves may have.
func notHere(message string) bool {
	return absentFile.MatchString(message) || absentLink.MatchString(message)
}

// listening are the directives whose argument is an address to listen at.
var listening = []string{"health", "ready", "prometheus", "pprof"}

// checkListen refuses a port at which nobody can listen. The setups of these plugins do not look at it, and the start fails.
func checkListen(directive string, tokens []caddyfile.Token) error {
	if !slices.Contains(listening, directive) {
		return nil
	}
	for _, d := range split(tokens) {
		if len(d[0]) < 2 {
			continue
		}
		_, port, err := net.SplitHostPort(d[0][1].Text)
		if n, perr := strconv.Atoi(port); err == nil && (perr != nil || n < 0 || n > 65535) {
			return fmt.Errorf("%q is no port: want a number from 1 to 65535", port)
		}
	}
	return nil
}
