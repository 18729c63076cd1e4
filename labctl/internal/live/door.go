package live

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// SocketName is the control socket's name in a report folder.
const SocketName = "control"

// MakeDoor makes the control socket in a folder and listens on it. It has its name
// only when it listens: whoever finds it finds a lab. An older one of a lab that is
// gone gives way.
func MakeDoor(folder string) (*os.File, error) {
	dir, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the control socket in %s: %w", folder, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the control socket in %s: %w", folder, err)
	}
	temp := SocketName + "." + strconv.Itoa(os.Getpid())
	unix.Unlinkat(dir, temp, 0) // of a namesake that was killed in the act
	// The mode of the file is that of the socket (unix_bind), umask or not. By
	// /proc the path is short enough whatever the folder's (unix(7): 108 bytes).
	err = unix.Fchmod(fd, 0o600)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, temp)})
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err == nil {
		err = unix.Renameat(dir, temp, dir, SocketName)
	}
	if err != nil {
		unix.Unlinkat(dir, temp, 0)
		unix.Close(fd)
		return nil, fmt.Errorf("make the control socket in %s: %w", folder, err)
	}
	return os.NewFile(uintptr(fd), SocketName), nil
}

// ErrDown says that no lab is behind the socket: there is none, or its lab was
// killed.
var ErrDown = errors.New("no lab is up there")

// Dial connects to the lab of a report folder. A socket that a killed lab left is
// removed.
func Dial(folder string) (*Conn, error) { return dial(folder) }

func dial(folder string, files ...*os.File) (*Conn, error) {
	dir, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	defer unix.Close(dir)
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, SocketName)})
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		unix.Unlinkat(dir, SocketName, 0)
		return nil, fmt.Errorf("%s: %w", folder, ErrDown)
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%s: %w", folder, ErrDown)
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("%s: the lab there belongs to another user (%w)", folder, err)
	case err != nil:
		return nil, fmt.Errorf("connect to the lab in %s: %w", folder, err)
	}
	conn := newConn(c)
	if err := conn.hello(files...); err != nil {
		c.Close()
		return nil, gone(err)
	}
	return conn, nil
}

// Lab is one that is up.
type Lab struct {
	Folder string
	Status *Status
}

// Find lists the labs that are up in the folders below reports. Those of other
// users are left out.
func Find(reports string) []Lab {
	sockets, _ := filepath.Glob(filepath.Join(reports, "*", SocketName)) // the pattern is good
	var labs []Lab
	for _, s := range sockets {
		folder := filepath.Dir(s)
		if info, err := os.Lstat(folder); err != nil || !info.IsDir() {
			continue // reports/latest
		}
		c, err := Dial(folder)
		if err != nil {
			continue
		}
		reply, err := c.Ask(Request{Status: true})
		c.Close()
		if err == nil && reply.Status != nil {
			labs = append(labs, Lab{folder, reply.Status})
		}
	}
	return labs
}
