// Package scenarios holds the shipped scenarios, one file each, and the JSON
// Schema of their language, so that an installed program carries them along.
package scenarios

import (
	"embed"
	"io/fs"
)

// Files are the shipped scenarios: NAME.yaml for the scenario NAME, the
// article's at the top, those about restarts and the studies in their folders.
//
//go:embed *.yaml restart/*.yaml studies/*.yaml
var Files embed.FS

// Order names them in the order in which they teach. A name is enough to find
// one: no two folders have the same.
var Order = []string{
	"listening", "idle-restart", "timewait", "reuseaddr", "reuseaddr-too-late", "surviving-child", "surviving-child-reuseaddr",
	"client-closes-first", "one-host", "ipv6", "restart",

	// restart: one situation each, and what helps
	"both-runs", "set-and-bind-again", "shutdown-listener", "listen-race", "leaked-listener",
	"killed-with-a-live-client", "killed-with-unread-data", "linger-zero", "fin-timeout", "zero-window", "orphans",
	"time-wait-and-addresses", "dual-stack", "v6only", "bound-to-device", "address-not-there", "low-port",
	"own-client", "self-connect", "client-port", "tw-reuse", "same-four", "assassinated", "destroyed",
	"refused-window", "graceful-stop", "hand-over", "pass-listener", "inherited-listener", "socket-activation", "udp",

	// studies: whole tables of answers
	"options-by-state", "address-pairs", "reuseaddr-inherited", "reuseport-by-user", "who-receives", "port-zero",
	"time-wait-duration",
}

// folders are those that hold scenarios, in the order in which a name is looked
// for.
var folders = []string{"", "restart/", "studies/"}

// Path is the file in Files of the scenario of that name, which may have its
// folder before it; empty if there is none.
func Path(name string) string {
	for _, folder := range folders {
		path := folder + name + ".yaml"
		if _, err := fs.Stat(Files, path); err == nil {
			return path
		}
	}
	return ""
}

// Schema is the JSON Schema of a scenario file. It is generated from the types
// of package scenario; go generate writes it anew.
//
//go:embed schema.json
var Schema []byte
