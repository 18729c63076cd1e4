package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"restartlab/labctl/internal/guest"
)

// QEMU is the program that makes machines, as it is installed here.
type QEMU struct {
	path    string
	Version string // in its own words: "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"
}

const qemuProgram = "qemu-system-x86_64"

// oldest is the oldest QEMU with -action, which stops a machine when the guest asks.
var oldest = [2]int{6, 0}

// FindQEMU looks for it in the PATH and asks for its version.
func FindQEMU(ctx context.Context) (*QEMU, error) {
	path, err := exec.LookPath(qemuProgram)
	if err != nil {
		return nil, fmt.Errorf("run another kernel: %s is not installed (%s)", qemuProgram, howToInstall())
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	m := regexp.MustCompile(`version ((\d+)\.(\d+)\S*(?: \(.*\))?)`).FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("ask %s for its version: it said %q", path, firstLine(out))
	}
	major, _ := strconv.Atoi(string(m[2]))
	minor, _ := strconv.Atoi(string(m[3]))
	if major < oldest[0] || major == oldest[0] && minor < oldest[1] {
		return nil, fmt.Errorf("run another kernel: %s is version %s; it takes %d.%d or newer", path, m[1], oldest[0], oldest[1])
	}
	return &QEMU{path: path, Version: string(m[1])}, nil
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(line)
}

func howToInstall() string {
	if runtime.GOOS == "darwin" {
		return "brew install qemu"
	}
	return "on Debian and Ubuntu, as root: apt-get install --no-install-recommends qemu-system-x86"
}

// The descriptors that a QEMU is started with beside its standard ones: QMP is on
// stdin and stdout.
const (
	journalFD = 3 + iota
	consoleFD
	stateFD // where the machine is saved to, or goes on from
	orderFD
)

// hardware is what decides how a machine behaves: all that is the same each time it
// goes on from where it was saved.
type hardware struct {
	Accel  string `json:"accel"`            // "tcg" or "kvm"
	Warp   bool   `json:"warp"`             // its clock counts instructions, and skips what is idle
	Memory int    `json:"memory_mib"`       // MiB
	Append string `json:"kernel_arguments"` // the kernel's command line

	patience time.Duration // with its start, if not bootTime
}

// memory is enough for some forty labs at once.
const memory = 128

// kernelArguments: no word but of what is wrong, end at once in a panic, and leave
// out what takes time and no lab has any use of. A dump of the socket table walks the
// whole table of connections, which is then no larger than it need be.
const kernelArguments = "console=ttyS0 quiet loglevel=4 panic=-1 nowatchdog mitigations=off apparmor=0 audit=0 cryptomgr.notests " +
	"psi=0 cgroup_disable=memory thash_entries=1024 " +
	"initcall_blacklist=load_system_certificate_list,jent_mod_init,init_kprobe_trace,trace_eval_init,init_blk_tracer -- " + guest.Argument

// arguments is QEMU's command line. seed and what decides chance from then on may
// differ from run to run.
func (h hardware) arguments(seed uint64, image string, more ...string) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "pc", "-m", strconv.Itoa(h.Memory),
		"-rtc", "base=2026-01-01,clock=vm",
		"-device", fmt.Sprintf("pvpanic,ioport=%#x", guest.PortSnapshot), "-action", "panic=pause",
		"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=1", guest.PortEnd),
		"-chardev", "stdio,id=control,signal=off", "-mon", "chardev=control,mode=control",
		"-add-fd", fmt.Sprintf("fd=%d,set=1", journalFD), "-chardev", "file,id=journal,path=/dev/fdset/1,append=on",
		"-device", fmt.Sprintf("isa-debugcon,iobase=%#x,chardev=journal", guest.PortJournal),
		"-add-fd", fmt.Sprintf("fd=%d,set=2", consoleFD), "-chardev", "file,id=console,path=/dev/fdset/2,append=on",
		"-serial", "chardev:console",
		"-fw_cfg", fmt.Sprintf("name=%s,file=/dev/fd/%d", guest.OrderItem, orderFD),
		"-kernel", image, "-append", h.Append,
	}
	if h.Accel == "kvm" {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		// The translated code of a guest takes some 20 MiB. Without erms and fsrm the
		// kernel clears and copies pages by words, which is as much faster here as
		// it would be slower on a real processor.
		args = append(args, "-accel", "tcg,tb-size=64", "-cpu", "max,-erms,-fsrm")
	}
	if h.Warp {
		// Eight nanoseconds an instruction. sleep=off: when nobody has anything to
		// do the clock jumps to the next timer.
		args = append(args, "-icount", "shift=3,sleep=off", "-seed", strconv.FormatUint(seed%(1<<32), 10))
	}
	return append(args, more...)
}

// process is a QEMU that runs.
type process struct {
	*qmp
	cmd     *exec.Cmd
	console *tail
	stderr  *tail
	ended   chan struct{} // closed when it is gone; err is set then
	err     error
	files   []*os.File
	reads   sync.WaitGroup
	dog     *time.Timer // the watchdog
	quiet   time.Duration
	bitten  atomic.Bool // by the watchdog
}

// start starts a QEMU in that folder. Its journal's lines go to journal, which is read from until
// the machine is gone; state is stateFD's file, order what the guest is told.
func (q *QEMU) start(folder string, args []string, order []byte, state *os.File) (p *process, journal *os.File, err error) {
	var opened []*os.File
	defer func() {
		if err != nil {
			for _, f := range opened {
				f.Close()
			}
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			if r, w, err = os.Pipe(); err == nil {
				opened = append(opened, r, w)
			}
		}
		return r, w
	}
	journalR, journalW := pipe()
	consoleR, consoleW := pipe()
	orderR, orderW := pipe()
	controlR, controlW := pipe()
	saidR, saidW := pipe()
	errR, errW := pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe to the machine: %w", err)
	}
	p = &process{console: &tail{}, stderr: &tail{}, ended: make(chan struct{})}
	p.cmd = exec.Command(q.path, args...)
	p.cmd.Dir = folder
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = controlR, saidW, errW
	p.cmd.ExtraFiles = []*os.File{journalW, consoleW, state, orderR}
	dieWithUs(p.cmd)
	machine := p // p is what is returned
	p.reads.Go(func() { machine.console.read(consoleR) })
	p.reads.Go(func() { machine.stderr.read(errR) })
	started := make(chan error)
	go func() {
		// On Linux it is killed when this thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := machine.cmd.Start()
		started <- err
		if err == nil {
			machine.err = machine.cmd.Wait()
			machine.reads.Wait() // its last words
			close(machine.ended)
		}
	}()
	if err = <-started; err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", q.path, err)
	}
	for _, f := range []*os.File{journalW, consoleW, orderR, controlR, saidW, errW} {
		f.Close()
	}
	go func() {
		orderW.Write(order) // if QEMU is gone its exit tells
		orderW.Close()
	}()
	p.files = []*os.File{controlW, saidR}
	if p.qmp, _, err = greet(controlW, saidR); err != nil {
		p.kill()
		journalR.Close()
		return nil, nil, p.failure("start a machine", nil)
	}
	return p, journalR, nil
}

// kill ends it, if it has not ended, and returns when it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
	for _, f := range p.files {
		f.Close()
	}
}

// killAfter kills the machine when ctx is done, or when nobody has called alive for
// that time. stop ends the watch.
func (p *process) killAfter(ctx context.Context, quiet time.Duration) (stop func()) {
	p.quiet = quiet
	p.dog = time.AfterFunc(quiet, func() {
		p.bitten.Store(true)
		p.cmd.Process.Kill()
	})
	cancelled := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() })
	return func() {
		p.dog.Stop()
		cancelled()
	}
}

// alive tells the watchdog that the machine still does something.
func (p *process) alive() { p.dog.Reset(p.quiet) }

// why is why we have killed the machine; nil if we have not.
func (p *process) why(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.bitten.Load():
		return fmt.Errorf("nothing was heard of it for %s: it hangs, and was killed", p.quiet)
	}
	return nil
}

// Failure says that a machine did not do its work, with the last that it printed.
type Failure struct {
	What    string // what was tried
	Err     error  // why it was not done, nil if only the rest tells
	Said    string // QEMU's own message
	Console string // the last lines of the guest's console
}

func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.What)
	if f.Err != nil {
		fmt.Fprintf(&b, ": %v", f.Err)
	}
	if f.Said != "" {
		fmt.Fprintf(&b, "\nQEMU said: %s", f.Said)
	}
	if f.Console != "" {
		b.WriteString("\nthe last lines of the guest's console:")
		for line := range strings.Lines(f.Console) {
			b.WriteString("\n  | " + strings.TrimRight(line, "\r\n"))
		}
	}
	return b.String()
}

func (f *Failure) Unwrap() error { return f.Err }

// failure is that of a machine that is gone.
func (p *process) failure(what string, err error) error {
	<-p.ended
	var exit *exec.ExitError
	if err == nil && errors.As(p.err, &exit) && !exit.Exited() {
		err = fmt.Errorf("QEMU was ended by a signal (%s)", exit)
	}
	if err == nil && p.err != nil && p.stderr.text() == "" {
		err = fmt.Errorf("QEMU ended: %w", p.err)
	}
	return &Failure{What: what, Err: err, Said: p.stderr.text(), Console: p.console.text()}
}
