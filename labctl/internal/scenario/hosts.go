package scenario

import (
	"net/netip"
	"regexp"
	"strings"
	"sync"
)

// The hosts and addresses of a file that declares none: those of the article,
// and their like in the prefix for documentation (RFC 3849).
var (
	defaultHosts = [2]string{"server", "client"}

	defaultAddresses = [2][]netip.Prefix{
		{netip.MustParsePrefix("192.168.44.144/24"), netip.MustParsePrefix("2001:db8:44::144/64")},
		{netip.MustParsePrefix("192.168.44.145/24"), netip.MustParsePrefix("2001:db8:44::145/64")},
	}
)

func (c *compiler) hosts() {
	declared := c.file.Hosts
	if declared == nil {
		for i, name := range defaultHosts {
			c.names[name] = nil
			c.lab.Hosts = append(c.lab.Hosts, Host{Name: name, Addresses: defaultAddresses[i]})
		}
		return
	}
	if len(declared.Entries) == 0 && !declared.bad {
		c.wrong(declared, declared.at(), "hosts is empty; leave it out to get server and client")
	}
	for i, e := range declared.Entries {
		if i == len(defaultHosts) {
			c.wrong(declared, e.at, "a lab has one host, or two joined by a link; this is the third")
			break
		}
		if !c.declare(e.Key, e.at) {
			declared.bad = true
			continue
		}
		h := Host{Name: e.Key, Sysctls: c.sysctls(e.Value.Sysctls)}
		if e.Value.Addresses == nil {
			h.Addresses = defaultAddresses[i]
		} else {
			h.Addresses = c.addresses(e.Value.Addresses)
		}
		c.lab.Hosts = append(c.lab.Hosts, h)
	}
	if len(c.lab.Hosts) == 2 && !declared.bad {
		c.joined(declared)
	}
}

// addresses understands a host's addresses. One that no interface can use is a
// problem; which those are follows RFC 6890 and the kernel's own checks
// (ipv4_is_zeronet and friends in include/linux/in.h).
func (c *compiler) addresses(texts *list[str]) (prefixes []netip.Prefix) {
	first := map[netip.Addr]int{}
	for _, s := range texts.Items {
		if s.bad {
			continue
		}
		p, err := netip.ParsePrefix(s.V)
		a := p.Addr()
		why := ""
		switch {
		case err != nil:
			why = "is not an address with its prefix length, such as 192.168.44.144/24"
			if a, err := netip.ParseAddr(s.V); err == nil {
				why = "has no prefix length; did you mean " + a.String() + "/24?"
				if a.Is6() {
					why = "has no prefix length; did you mean " + a.String() + "/64?"
				}
			}
		case a.Is4In6():
			why = "is an IPv4 address in IPv6 clothes, which no interface carries; write " + a.Unmap().String()
		case a.IsUnspecified():
			why = "means any address; a host needs one of its own"
		case a.IsLoopback():
			why = "is a loopback address; every host has those by itself"
		case a.IsMulticast():
			why = "is a multicast address"
		case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			why = "is the broadcast address"
		case a.Is6() && a.IsLinkLocalUnicast():
			why = "is a link-local address, which every call would have to name an interface with"
		case p.Bits() == 0:
			why = "has the prefix length 0, which would make the whole internet its neighbour"
		case p.Bits() < a.BitLen()-1 && a == p.Masked().Addr():
			why = "is the address of its network; the host's part is 0"
		case a.Is4() && p.Bits() < 31 && a == lastOf(p):
			why = "is the broadcast address of its network"
		}
		if why != "" {
			c.wrong(texts, s.node, "%s %s", shortly(s.V), why)
			continue
		}
		if line, twice := first[a]; twice {
			c.wrong(texts, s.node, "the address %s stands in line %d already", a, line)
			continue
		}
		first[a] = s.node.Line
		prefixes = append(prefixes, p)
	}
	return prefixes
}

// lastOf is the last address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// joined checks that two hosts can reach each other over their link.
func (c *compiler) joined(declared *dict[hostForm]) {
	for _, e := range declared.Entries {
		if a := e.Value.Addresses; e.Value.bad || a != nil && a.bad {
			return
		}
	}
	common := false
	for _, p := range c.lab.Hosts[0].Addresses {
		for _, q := range c.lab.Hosts[1].Addresses {
			if p.Addr() == q.Addr() {
				c.wrong(declared, declared.Entries[1].at, "both hosts have the address %s", p.Addr())
				return
			}
			common = common || p.Contains(q.Addr()) && q.Contains(p.Addr())
		}
	}
	if !common {
		c.wrong(declared, declared.Entries[1].at, "%s (%s) and %s (%s) have no subnet in common, so neither reaches the other",
			c.lab.Hosts[0].Name, prefixTexts(c.lab.Hosts[0]), c.lab.Hosts[1].Name, prefixTexts(c.lab.Hosts[1]))
	}
}

func prefixTexts(h Host) string {
	texts := make([]string, len(h.Addresses))
	for i, p := range h.Addresses {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}

// sysctlName is the name of a setting that a network namespace may have of its
// own. All others belong to the machine, which a lab never changes.
var sysctlName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^net(\.[A-Za-z0-9_-]+)+$`) })

func (c *compiler) sysctls(f *dict[scalar]) (values []Sysctl) {
	if f == nil {
		return nil
	}
	for _, e := range f.Entries {
		switch {
		case !strings.HasPrefix(e.Key, "net."):
			c.wrong(f, e.at, "%s is not a setting of one host: those begin with net. and are written with dots, such as net.ipv4.tcp_fin_timeout", shortly(e.Key))
		case !sysctlName().MatchString(e.Key):
			c.wrong(f, e.at, "%s is not the name of a kernel setting, such as net.ipv4.tcp_fin_timeout", shortly(e.Key))
		case e.Value.bad:
		case e.Value.node.ShortTag() == "!!bool":
			c.wrong(f, e.Value.node, "the kernel's settings are numbers and texts; write 1 or 0 for %s", e.Value.V)
		case e.Value.V == "" || strings.ContainsAny(e.Value.V, "\n\r"):
			c.wrong(f, e.Value.node, "the value of a kernel setting is one line and not empty")
		}
		values = append(values, Sysctl{Name: e.Key, Value: e.Value.V})
	}
	return values
}
