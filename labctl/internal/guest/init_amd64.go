package guest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is the machine that this process is the first of. It is an io.Writer:
// what is written to it goes out as the journal.
type Machine struct{}

// Boot makes of the new kernel a machine for labs: file systems and modules. The
// error is of a kernel on which there can be none; the Machine is there all the
// same, unless the machine's own ports are not.
func Boot() (*Machine, error) {
	m := &Machine{}
	if err := withPorts(func() {}); err != nil {
		return nil, err
	}
	for _, fs := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := unix.Mount(fs.kind, fs.at, fs.kind, unix.MS_NOSUID, ""); err != nil {
			return m, fmt.Errorf("mount %s on %s: %w", fs.kind, fs.at, err)
		}
	}
	modules, err := filepath.Glob(Modules + "/*.ko")
	if err != nil {
		return m, err
	}
	slices.Sort(modules)
	for _, name := range modules {
		if err := load(name); err != nil {
			return m, fmt.Errorf("load the module %s: %w", filepath.Base(name), err)
		}
	}
	return m, nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); !errors.Is(err, unix.EEXIST) { // EEXIST: built in
		return err
	}
	return nil
}

// Write sends bytes of the journal out.
func (m *Machine) Write(b []byte) (int, error) {
	if err := withPorts(func() { out(PortJournal, b) }); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Stop says what this machine is, and stops it. It is saved then, and each run
// goes on from here: Stop returns with what is to be done in this one.
func (m *Machine) Stop(p Prepared) (Order, error) {
	var o Order
	line, err := json.Marshal(p)
	if err != nil {
		return o, err
	}
	if _, err := m.Write(append(line, '\n')); err != nil {
		return o, err
	}
	var content []byte
	err = withPorts(func() {
		out(PortSnapshot, []byte{1})
		content = item(OrderItem)
	})
	if err == nil && content == nil {
		err = errors.New("the machine has no fw_cfg item " + OrderItem)
	}
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(content, &o); err != nil {
		return o, fmt.Errorf("the order cannot be read: %w", err)
	}
	return o, reseed(o.Seed)
}

// reseed gives the kernel's random numbers a new beginning. The machine was saved
// with theirs, which would otherwise be the same in every run. Batches of numbers
// that were made before are thrown away with it.
func reseed(seed uint64) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("seed the random numbers: %w", err)
	}
	defer f.Close()
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	numbers := rand.NewChaCha8(key)
	fresh := make([]byte, 64)
	numbers.Read(fresh)
	if _, err := f.Write(fresh); err != nil {
		return fmt.Errorf("seed the random numbers: %w", err)
	}
	const rndReseedCRNG = 0x5207 // linux/random.h
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndReseedCRNG, 0); errno != 0 {
		return fmt.Errorf("seed the random numbers (RNDRESEEDCRNG): %w", errno)
	}
	return nil
}

// End ends the machine, and with it this process. It does not return.
func (m *Machine) End(status byte) {
	withPorts(func() { out(PortEnd, []byte{status}) }) // Boot has tried that
	for {                                              // the machine is gone before this
		time.Sleep(time.Hour)
	}
}

// About reads what kernel this is.
func About() Prepared {
	var u unix.Utsname
	unix.Uname(&u) // cannot fail with a good address
	p := Prepared{Release: unix.ByteSliceToString(u.Release[:]), Build: unix.ByteSliceToString(u.Version[:]),
		Arch: unix.ByteSliceToString(u.Machine[:])}
	// The coarse clock stands still between two timer interrupts.
	var tick unix.Timespec
	if unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick) == nil && tick.Nano() > 0 {
		p.HZ = int(time.Second.Nanoseconds() / tick.Nano())
	}
	return p
}
