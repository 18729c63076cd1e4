package scenario

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// The levels and numbers of setsockopt, from Linux's include/uapi: the plan is
// for Linux, wherever it is made.
const (
	solSocket   = 1
	ipprotoIP   = 0
	ipprotoTCP  = 6
	ipprotoIPv6 = 41
)

var levelNames = map[int]string{solSocket: "SOL_SOCKET", ipprotoIP: "IPPROTO_IP", ipprotoTCP: "IPPROTO_TCP", ipprotoIPv6: "IPPROTO_IPV6"}

func option(name string, level, opt int) Option {
	return Option{Name: name, Level: level, Opt: opt, LevelName: levelNames[level]}
}

// sockopts compiles the options of a socket of that kind, in the order written.
func (c *compiler) sockopts(f *sockoptsForm, kind string) (options []Option) {
	if f == nil {
		return nil
	}
	type written struct {
		Option
		at *place
	}
	var all []written
	add := func(o Option, at *place) { all = append(all, written{o, at}) }
	number := func(o Option, n int, at *place) {
		o.Int = &n
		add(o, at)
	}
	flag := func(b *boolean, o Option) {
		if b != nil {
			n := 0
			if b.V {
				n = 1
			}
			number(o, n, &b.place)
		}
	}
	whole := func(i *integer, o Option) {
		if i != nil {
			number(o, int(i.V), &i.place)
		}
	}
	units := func(t *duration, unit time.Duration, name string, o Option) {
		if t == nil || t.bad {
			return
		}
		if t.V%unit != 0 {
			c.wrong(f, t.node, "%s counts whole %s", o.Name, name)
		}
		number(o, int(t.V/unit), &t.place)
	}
	six := kind == TCP6 || kind == UDP6
	flag(f.ReuseAddr, option("SO_REUSEADDR", solSocket, 2))
	flag(f.ReusePort, option("SO_REUSEPORT", solSocket, 15))
	flag(f.KeepAlive, option("SO_KEEPALIVE", solSocket, 9))
	whole(f.RcvBuf, option("SO_RCVBUF", solSocket, 8))
	whole(f.SndBuf, option("SO_SNDBUF", solSocket, 7))
	flag(f.V6Only, option("IPV6_V6ONLY", ipprotoIPv6, 26))
	if six {
		flag(f.FreeBind, option("IPV6_FREEBIND", ipprotoIPv6, 78))
		flag(f.Transparent, option("IPV6_TRANSPARENT", ipprotoIPv6, 75))
	} else {
		flag(f.FreeBind, option("IP_FREEBIND", ipprotoIP, 15))
		flag(f.Transparent, option("IP_TRANSPARENT", ipprotoIP, 19))
	}
	flag(f.BindAddressNoPort, option("IP_BIND_ADDRESS_NO_PORT", ipprotoIP, 24))
	flag(f.NoDelay, option("TCP_NODELAY", ipprotoTCP, 1))
	units(f.KeepIdle, time.Second, "seconds", option("TCP_KEEPIDLE", ipprotoTCP, 4))
	units(f.KeepIntvl, time.Second, "seconds", option("TCP_KEEPINTVL", ipprotoTCP, 5))
	whole(f.KeepCnt, option("TCP_KEEPCNT", ipprotoTCP, 6))
	units(f.UserTimeout, time.Millisecond, "milliseconds", option("TCP_USER_TIMEOUT", ipprotoTCP, 18))
	units(f.DeferAccept, time.Second, "seconds", option("TCP_DEFER_ACCEPT", ipprotoTCP, 9))
	whole(f.FastOpen, option("TCP_FASTOPEN", ipprotoTCP, 23))
	if t := f.Linger; t != nil && !t.bad {
		if t.V%time.Second != 0 {
			c.wrong(f, t.node, "SO_LINGER counts whole seconds")
		}
		o := option("SO_LINGER", solSocket, 13)
		o.Linger = &t.V
		add(o, &t.place)
	}
	if d := f.BindToDevice; d != nil && !d.bad {
		const longest = 15 // IFNAMSIZ without the NUL
		if d.V == "" || len(d.V) > longest {
			c.wrong(f, d.node, "an interface's name has 1 to %d bytes; lo and link are there", longest)
		}
		o := option("SO_BINDTODEVICE", solSocket, 25)
		o.Text = d.V
		add(o, &d.place)
	}
	if r := f.IPLocalPortRange; r != nil && !r.bad {
		if r.Max.V != 0 && r.Min.V > r.Max.V {
			c.wrong(f, r.node, "min is greater than max, so there is no port between")
		}
		number(option("IP_LOCAL_PORT_RANGE", ipprotoIP, 51), int(r.Max.V<<16|r.Min.V), &r.place) // ip(7): the upper bound in the high bits
	}
	if f.Numeric != nil {
		for _, n := range f.Numeric.Items {
			if n.bad || n.Level == nil || n.Name == nil || n.Value == nil {
				continue
			}
			level, name := int(n.Level.V), int(n.Name.V)
			o := option(strconv.Itoa(level)+"/"+strconv.Itoa(name), level, name)
			if o.LevelName == "" {
				o.LevelName = strconv.Itoa(level)
			}
			number(o, int(n.Value.V), &n.place)
		}
	}
	slices.SortStableFunc(all, func(a, b written) int {
		return cmp.Or(cmp.Compare(a.at.at().Line, b.at.at().Line), cmp.Compare(a.at.at().Column, b.at.at().Column))
	})
	for _, o := range all {
		c.suits(f, o.at, o.Option, kind)
		options = append(options, o.Option)
	}
	return options
}

// suits refuses an option that no socket of the kind has.
func (c *compiler) suits(f *sockoptsForm, at *place, o Option, kind string) {
	switch {
	case o.Name == "IPV6_V6ONLY" && (kind == TCP4 || kind == UDP4):
		c.wrong(f, at.at(), "v6only is an option of IPv6 sockets, and this one is %s", kind)
	case o.Level == ipprotoTCP && (kind == UDP4 || kind == UDP6):
		c.wrong(f, at.at(), "%s is an option of TCP sockets, and this one is %s", o.Name, kind)
	}
}
