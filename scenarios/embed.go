// Package scenarios holds the shipped scenarios, one file each, and the JSON
// Schema of their language, so that an installed program carries them along.
package scenarios

import "embed"

// Files are the shipped scenarios: NAME.yaml for the scenario NAME.
//
//go:embed *.yaml
var Files embed.FS

// Order names them in the order in which they teach.
var Order = []string{
	"listening", "idle-restart", "timewait", "reuseaddr", "reuseaddr-too-late", "surviving-child", "surviving-child-reuseaddr",
	"client-closes-first", "one-host", "ipv6", "restart",
}

// Schema is the JSON Schema of a scenario file. It is generated from the types
// of package scenario; go generate writes it anew.
//
//go:embed schema.json
var Schema []byte
