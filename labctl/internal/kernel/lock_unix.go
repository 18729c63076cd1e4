//go:build unix

package kernel

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes a lock that no other process has meanwhile, and which is free again
// when the process ends, however. unlock is nil if another has it. (The file stays:
// to remove it would let two have it.)
func tryLock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return func() { f.Close() }, nil
	case unix.EWOULDBLOCK:
		f.Close()
		return nil, nil
	default:
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
}

// lock is tryLock that waits until the other is done. busy is called if there is one.
func lock(ctx context.Context, file string, busy func()) (unlock func(), err error) {
	if unlock, err = tryLock(file); unlock != nil || err != nil {
		return unlock, err
	}
	busy()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() {
		err := error(unix.EINTR)
		for err == unix.EINTR {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		locked <- err
	}()
	select {
	case err = <-locked:
	case <-ctx.Done():
		go func() { // the call cannot be taken back, but what it gets can
			<-locked
			f.Close()
		}()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}
