//go:build !amd64

package runner

import (
	"fmt"
	"os"
)

// Guest is the inside of a run in a kernel of its own, whose machine is x86-64.
func Guest() int {
	fmt.Fprintln(os.Stderr, "labctl guest is the first process of an x86-64 machine; this is a labctl for another")
	return 3
}
