package netlab

import (
	"fmt"
	"sync"
)

// Hosts of a namespace that says so get a table of connections of their own (Linux
// 6.1 and later). Without it all namespaces share the machine's, of some 262,144
// buckets, and each look at a host's sockets walks all of them.
const (
	ownTable     = "net.ipv4.tcp_child_ehash_entries"
	ownTableSize = "1024"
)

// derived are settings whose default the kernel works out from the size of that table.
// A host keeps those that it would have without one of its own.
var derived = [...]string{"net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_max_syn_backlog"}

// defaults are the derived settings of hosts, by name; none where hosts share the
// machine's table.
var defaults struct {
	sync.RWMutex
	values map[string]string
}

// OwnTables gives the hosts that are made from now on tables of their own. It changes
// the calling thread's network namespace, in which they are made: one that is the
// caller's alone. Where the kernel has no such setting nothing changes.
func OwnTables() error {
	defaults.Lock()
	defer defaults.Unlock()
	s := settingsOf("the inside")
	defer s.close()
	values := map[string]string{}
	for _, name := range derived {
		v, err := s.read(name)
		if err != nil {
			return nil // nothing that could be kept: share the table
		}
		values[name] = v
	}
	if _, err := s.read(ownTable); err != nil {
		return nil
	}
	if err := s.write(ownTable, ownTableSize); err != nil {
		return fmt.Errorf("hosts share the machine's table of connections: %w", err)
	}
	defaults.values = values
	return nil
}

// keepDefaults sets the derived settings.
func (s *settings) keepDefaults() error {
	defaults.RLock()
	defer defaults.RUnlock()
	for _, name := range derived {
		if v, ok := defaults.values[name]; ok {
			if err := s.write(name, v); err != nil {
				return err
			}
		}
	}
	return nil
}
