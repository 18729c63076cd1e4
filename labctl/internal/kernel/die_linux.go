package kernel

import (
	"os/exec"
	"syscall"
)

// dieWithUs makes the kernel kill the machine when the thread that starts it ends,
// and so with this process, however that ends. It has a session of its own: Ctrl-C
// at the terminal is for labctl alone.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
}
