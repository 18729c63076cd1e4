//go:build !linux

package kernel

import (
	"os/exec"
	"syscall"
)

// dieWithUs gives the machine a session of its own. Other systems than Linux have
// nothing by which it would end with a labctl that is killed: it then plays its run
// to the end, which is soon, and nobody reads it.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
