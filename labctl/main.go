//go:build linux

// Command labctl plays restart scenarios on isolated hosts and reports what the
// Linux kernel does with the port.
package main

import (
	"os"

	"restartlab/labctl/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdout, os.Stderr)) }
