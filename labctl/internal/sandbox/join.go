package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/runner"
)

// Join is the network namespaces, made by somebody else, that the hosts of a run
// are. They are opened here, and handed to the inside as descriptors: process
// numbers mean nothing there.
type Join struct {
	pids       map[string]int
	names      []string
	namespaces map[string]*netlab.Namespace
}

// OpenJoin opens the network namespaces of processes, by the names of hosts: one,
// or two that are not the same.
func OpenJoin(pids map[string]int) (*Join, error) {
	if !privileged() {
		return nil, errors.New("to join network namespaces that are there already takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run it with sudo")
	}
	j := &Join{pids: pids, names: slices.Sorted(maps.Keys(pids)), namespaces: map[string]*netlab.Namespace{}}
	for _, name := range j.names {
		n, err := netlab.OpenNamespace(pids[name])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("join %s: %w", name, err), j.Close())
		}
		j.namespaces[name] = n
	}
	if len(j.names) == 2 && j.namespaces[j.names[0]].Same(j.namespaces[j.names[1]]) {
		return nil, errors.Join(fmt.Errorf("join %s and %s: processes %d and %d are in the same network namespace; two hosts need two",
			j.names[0], j.names[1], pids[j.names[0]], pids[j.names[1]]), j.Close())
	}
	return j, nil
}

// Addresses are those that the hosts have, by host: where there are two, those
// by which they reach each other.
func (j *Join) Addresses() map[string][]netip.Prefix {
	found := map[string][]netip.Prefix{}
	if len(j.names) == 2 {
		a, b := j.names[0], j.names[1]
		found[a], found[b] = netlab.Addresses(j.namespaces[a], j.namespaces[b])
		return found
	}
	for name, n := range j.namespaces {
		found[name] = n.Addresses()
	}
	return found
}

// PIDs are the processes, by host; nil without a Join.
func (j *Join) PIDs() map[string]int {
	if j == nil {
		return nil
	}
	return j.pids
}

// Close gives the descriptors back.
func (j *Join) Close() error {
	var errs []error
	for _, n := range j.namespaces {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

// files are the descriptors that the inside inherits.
func (j *Join) files() (files []*os.File) {
	if j == nil {
		return nil
	}
	for _, name := range j.names {
		files = append(files, j.namespaces[name].File())
	}
	return files
}

// descriptors are the numbers that the inside has them by.
func (j *Join) descriptors() map[string]int {
	if j == nil {
		return nil
	}
	numbers := map[string]int{}
	for i, name := range j.names {
		numbers[name] = runner.ExtraFD + i
	}
	return numbers
}
