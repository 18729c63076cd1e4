package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Drop says which TCP segments that reach a host are thrown away there before TCP
// sees them. They are not dropped where they are sent: the sender's TCP would be
// told, and send them again some milliseconds later.
type Drop struct {
	// Segments is SYN (with or without ACK), FIN or RST: those that have the flag;
	// ACK: those that have it and none of these; or any.
	Segments string
	// From and To are the ports, 0 for any.
	From, To uint16
	Count    uint32 // how many are dropped, from now on; 0: all
}

func (d Drop) String() string {
	text := "segments with " + d.Segments
	switch d.Segments {
	case "any":
		text = "all segments"
	case "ACK":
		text = "segments with ACK, without SYN, FIN and RST"
	}
	if d.From != 0 {
		text += fmt.Sprintf(" from port %d", d.From)
	}
	if d.To != 0 {
		text += fmt.Sprintf(" to port %d", d.To)
	}
	if d.Count != 0 {
		text += fmt.Sprintf(", the first %d", d.Count)
	}
	return text
}

// Unavailable says that a kernel or machine lacks something that a host needs.
type Unavailable struct {
	What string // empty if Err says it
	Err  error
}

func (u *Unavailable) Error() string {
	if u.What == "" {
		return u.Err.Error()
	}
	return u.What + ": " + u.Err.Error()
}

// Unwrap is what the kernel said.
func (u *Unavailable) Unwrap() error { return u.Err }

// The bits of the flags of a TCP header, its 14th byte.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	_ // PSH
	flagACK
)

// Drop drops segments that reach the host, until the host is gone, by a rule of
// nftables in its namespace. The rule is in force when Drop returns. The error is an
// *Unavailable where the kernel has no nftables.
func (h *Host) Drop(d Drop) error {
	rule, err := d.rule()
	if err != nil {
		return err
	}
	err = h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		// Table and chain stay as they are if they are there.
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "labctl"})
		chain := c.AddChain(&nftables.Chain{Name: "drop", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule})
		return c.Flush()
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("drop %s at host %s: %w", d, h.name, err)
	for _, missing := range []unix.Errno{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT, unix.EINVAL} {
		if errors.Is(err, missing) {
			return &Unavailable{What: "this kernel lacks what nftables needs to drop segments (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_NUMGEN), or may not load the modules", Err: err}
		}
	}
	return err
}

// rule is the drop as an expression of nftables.
func (d Drop) rule() ([]expr.Any, error) {
	const register = 1
	equal := func(b ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: b} }
	header := func(offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
	}
	rule := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equal(unix.IPPROTO_TCP)}
	if d.From != 0 {
		rule = append(rule, header(0, 2), equal(binary.BigEndian.AppendUint16(nil, d.From)...))
	}
	if d.To != 0 {
		rule = append(rule, header(2, 2), equal(binary.BigEndian.AppendUint16(nil, d.To)...))
	}
	var mask, value byte
	switch d.Segments {
	case "SYN":
		mask, value = flagSYN, flagSYN
	case "FIN":
		mask, value = flagFIN, flagFIN
	case "RST":
		mask, value = flagRST, flagRST
	case "ACK":
		mask, value = flagSYN|flagFIN|flagRST|flagACK, flagACK
	case "any":
	default:
		return nil, fmt.Errorf("drop %q: the segments that can be dropped are %s", d.Segments, strings.Join([]string{"SYN", "ACK", "FIN", "RST", "any"}, ", "))
	}
	if mask != 0 {
		const flags = 13 // the byte of the TCP header
		rule = append(rule, header(flags, 1),
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{mask}, Xor: []byte{0}}, equal(value))
	}
	if d.Count != 0 {
		// A counter that begins at 0 and never comes round.
		rule = append(rule, &expr.Numgen{Register: register, Modulus: 1 << 31, Type: unix.NFT_NG_INCREMENTAL},
			&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: register, Data: binary.BigEndian.AppendUint32(nil, d.Count)})
	}
	return append(rule, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}), nil
}
