package scenario

import (
	"net/netip"
	"slices"
)

// takeOver gives the hosts that were there before the run (--join) the addresses
// that they have. An address of the file stands for the one found in its place:
// the second IPv4 address that the file gives to a host, or that a host has by
// default, for the second that the host has.
func (c *compiler) takeOver() {
	found := c.settings.Joined
	if found == nil || len(c.lab.Hosts) == 0 {
		return
	}
	for _, name := range sorted(found) {
		if !slices.Contains(c.hostNames(), name) {
			c.add(nil, "--join %s=PID: the scenario has no host %s%s", name, shortly(name), rather(name, c.hostNames()))
		}
	}
	c.standins = map[netip.Addr]standin{}
	for i := range c.lab.Hosts {
		h := &c.lab.Hosts[i]
		addresses, joined := found[h.Name]
		if !joined {
			c.add(nil, "--join: the scenario has a host %s too; add %s=PID", h.Name, h.Name)
			continue
		}
		if len(h.Sysctls) > 0 {
			f := c.file.Hosts.Entries[i].Value.Sysctls
			c.wrong(f, f.at(), "%s is joined, and no kernel setting is changed on a host that was there before: set it where that was made, and take this out", h.Name)
		}
		for _, four := range []bool{true, false} {
			had, has := ofFamily(h.Addresses, four), ofFamily(addresses, four)
			for n, a := range had {
				s := standin{host: h.Name}
				if n < len(has) {
					s.address = has[n]
				}
				c.standins[a] = s
			}
		}
		h.Addresses = addresses
	}
}

// standin is what an address of the file means on joined hosts. The address is
// not valid if its host has none such.
type standin struct {
	host    string
	address netip.Addr
}

func ofFamily(prefixes []netip.Prefix, four bool) (addresses []netip.Addr) {
	for _, p := range prefixes {
		if p.Addr().Is4() == four {
			addresses = append(addresses, p.Addr())
		}
	}
	return addresses
}

// found is the address that stands for a, which is a itself unless the file gave
// it to a joined host.
func (c *compiler) found(a netip.Addr, s *str) netip.Addr {
	in, known := c.standins[a]
	switch {
	case !known:
		return a
	case !in.address.IsValid():
		c.wrong(s, s.node, "%s is an address of %s, and the joined %s has none such: it has %s",
			a, in.host, in.host, oneOf(addressTexts(c.host(in.host, s.node))))
	}
	return in.address
}

// changesHost are the verbs that change a host itself: its links, settings or
// rules.
var changesHost = map[string]bool{VerbSysctl: true, VerbLink: true, VerbDrop: true, VerbHold: true}

// unchanging tells a step that would change a joined host.
func (c *compiler) unchanging(verb *place, owner placed) {
	if name := verb.key.Value; c.settings.Joined != nil && changesHost[name] {
		c.wrong(owner, verb.key, "%s changes a host, and nothing is changed on hosts that were there before (--join); play this scenario on hosts of its own", name)
	}
}
