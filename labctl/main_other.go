//go:build !linux

// Command labctl plays restart scenarios on isolated hosts and reports what the
// Linux kernel does with the port.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "labctl: labs need the Linux kernel; this is %s. Run labctl on a Linux machine, in a Linux virtual machine,\n"+
		"or in a Linux container with the capabilities NET_ADMIN and SYS_ADMIN.\n", runtime.GOOS)
	os.Exit(3)
}
