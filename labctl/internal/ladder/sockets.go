package ladder

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"restartlab/labctl/internal/journal"
)

// socketKey holds the host since kernels before 5.10 count cookies from 1 in
// every network namespace.
type socketKey struct {
	host   string
	cookie uint64
}

type pair struct{ local, remote netip.AddrPort }

// unmap makes the two ways to write an IPv4 address of an IPv6 socket one.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// socket is the index of an event's socket, made if it is new; -1 for none.
func (b *builder) socket(e *journal.Event, cookie uint64) int {
	if cookie == 0 || e.Host == "" {
		return -1
	}
	key := socketKey{e.Host, cookie}
	i, ok := b.sockets[key]
	if !ok {
		i = len(b.ladder.Sockets)
		b.sockets[key] = i
		b.ladder.Sockets = append(b.ladder.Sockets, &Socket{Name: fmt.Sprintf("s%d", i+1), Cookie: cookie, Host: b.lane(e.Host), First: -1, Last: -1})
	}
	s := b.ladder.Sockets[i]
	switch {
	case e.Syscall != nil && e.Syscall.Socket != nil:
		s.Program = cmp.Or(s.Program, visible(e.Program))
		b.ends(i, e.Syscall.Socket.Local, e.Syscall.Socket.Remote)
	case e.State != nil:
		b.ends(i, e.State.Local, e.State.Remote)
	case e.Reset != nil && e.Reset.State != "LISTEN": // whose ends are of no connection
		b.ends(i, e.Reset.Local, e.Reset.Remote)
	}
	return i
}

// listed is the socket of a row of a host's socket table.
func (b *builder) listed(e *journal.Event, row journal.Socket) int {
	i := b.socket(e, row.Cookie)
	if i >= 0 {
		b.ends(i, row.Local, row.Remote)
	}
	return i
}

// ends remembers a socket's two ends. What was known is not forgotten: the
// kernel tells less of a socket that is closed.
func (b *builder) ends(i int, local, remote netip.AddrPort) {
	s := b.ladder.Sockets[i]
	if local.IsValid() && local.Port() != 0 {
		s.Local = local
	}
	if !remote.IsValid() || remote.Port() == 0 {
		return
	}
	p := pair{unmap(s.Local), unmap(remote)}
	if s.Remote = remote; !slices.Contains(b.pairs[p], i) {
		b.pairs[p] = append(b.pairs[p], i)
	}
}

// touch notes that a row is about a socket.
func (b *builder) touch(i, row int) {
	s := b.ladder.Sockets[i]
	if s.First < 0 {
		s.First = row
	}
	s.Last = max(s.Last, row)
}

func (b *builder) state(m moment, host int) {
	c := m.e.State
	i := b.socket(m.e, c.Cookie)
	if i < 0 {
		return
	}
	s := b.ladder.Sockets[i]
	text := fmt.Sprintf("%s %s → %s", s.Name, cmp.Or(c.From, "?"), cmp.Or(c.To, "?"))
	detail := ends(s) + ", source: " + c.Source
	if c.Why != "" {
		text += ", " + c.Why
	}
	if c.Due > m.t {
		detail += ", due in " + seconds(c.Due-m.t)
	}
	row := b.put(m, Row{Kind: StateRow, Host: host, Text: text, Detail: detail, Sockets: []int{i}})
	sure := c.Source == journal.SourceKernel
	s.marks = append(s.marks, mark{row, visible(c.To), sure})
	s.Path = append(s.Path, Transition{m.t, visible(c.From), visible(c.To), visible(c.Source), visible(c.Why)})
}

// mostNews bounds how many rows one socket table may make: a host can have tens
// of thousands of TIME_WAITs.
const mostNews = 24

// table makes rows of what a socket table tells that was not known: of sockets
// whose changes are not recorded, a state seen first, or that they are gone.
func (b *builder) table(m moment, host int) {
	e, t := m.e, m.e.Sockets
	if t.Error != "" {
		b.put(m, Row{Kind: LookRow, Host: host, Text: "socket table: " + t.Error, Bad: true})
		return
	}
	here := map[int]bool{}
	news, more := 0, 0
	for _, row := range t.Rows {
		i := b.listed(e, row)
		if i < 0 {
			continue
		}
		here[i] = true
		s := b.ladder.Sockets[i]
		if s.traced {
			continue
		}
		key := socketKey{e.Host, row.Cookie}
		if b.seen[key] == row.State { // the bar goes on to the row before this look
			s.marks = append(s.marks, mark{max(0, len(b.ladder.Rows)-1), visible(row.State), false})
			continue
		}
		b.seen[key] = row.State
		if news++; news > mostNews {
			more++
			continue
		}
		at := b.put(m, Row{Kind: LookRow, Host: host, Sockets: []int{i}, Text: fmt.Sprintf("table: %s is %s", s.Name, row.State),
			Detail: ends(s) + timeLeft(row)})
		s.marks = append(s.marks, mark{at, visible(row.State), false})
	}
	for i, s := range b.ladder.Sockets {
		key := socketKey{e.Host, s.Cookie}
		if t.UDP || s.traced || here[i] || s.Ended || b.seen[key] == "" || b.sockets[key] != i || t.Port != 0 && s.Local.Port() != t.Port {
			continue
		}
		b.seen[key] = ""
		if news++; news > mostNews {
			more++
			continue
		}
		b.put(m, Row{Kind: LookRow, Host: host, Sockets: []int{i}, Text: fmt.Sprintf("table: %s is gone", s.Name), Detail: ends(s)})
		s.Ended = true
	}
	if more > 0 {
		b.put(m, Row{Kind: LookRow, Host: host, Text: fmt.Sprintf("table: %s more, not drawn", count(more, "change"))})
	}
	if t.After != 0 {
		b.holders(m, host)
	}
}

// holders makes a row for each socket that had the port of a refused call: what
// the red line leads to.
func (b *builder) holders(m moment, host int) {
	x, ok := b.history.Refusal(m.e.Sockets.After)
	if !ok {
		return
	}
	for i, h := range x.Holders {
		if i == mostNews {
			b.put(m, Row{Kind: HolderRow, Host: host, Bad: true, Text: fmt.Sprintf("and held by %s more", count(len(x.Holders)-mostNews, "socket"))})
			break
		}
		r := Row{Kind: HolderRow, Host: host, Bad: true, Detail: x.String()}
		name := ""
		if i := b.listed(m.e, h.Socket); i >= 0 {
			r.Sockets = []int{i}
			name = b.ladder.Sockets[i].Name + " "
		}
		r.Text = "held by " + name + h.Socket.State + timeLeft(h.Socket)
		b.put(m, r)
	}
}

// bars makes spans of the marks, and gives each bar a column of its lane.
func (b *builder) bars() {
	l := &b.ladder
	end := len(l.Rows) - 1
	for _, s := range l.Sockets {
		s.spans(end)
	}
	for lane := range l.Hosts {
		var sockets, processes []*stay
		for _, s := range l.Sockets {
			if s.Host == lane && s.First >= 0 {
				sockets = append(sockets, &stay{s.First, s.Last, &s.column})
			}
		}
		for _, p := range l.Processes {
			if !p.Ended {
				p.Last = end
			}
			if p.Host == lane && p.First >= 0 {
				processes = append(processes, &stay{p.First, p.Last, &p.column})
			}
		}
		if n := place(sockets); n > 0 {
			b.note("%s of %s have no bar: there is room for %d side by side.", count(n, "socket"), l.Hosts[lane].Name, mostColumns)
		}
		if n := place(processes); n > 0 {
			b.note("%s of %s have no bar: there is room for %d side by side.", count(n, "process"), l.Hosts[lane].Name, mostColumns)
		}
	}
}

// spans works out the states between the marks.
func (s *Socket) spans(end int) {
	if s.First < 0 {
		return
	}
	for i, m := range s.marks {
		if i == 0 && m.row > s.First {
			s.Spans = append(s.Spans, Span{From: s.First, To: m.row})
		}
		last := i == len(s.marks)-1
		gone := m.state == "CLOSE" && s.traced
		switch {
		case gone && last:
			s.Ended = true
			s.Last = max(s.Last, m.row)
		case gone:
			s.add(Span{From: m.row, To: s.marks[i+1].row})
		case s.traced && last:
			s.Last = end
			s.add(Span{m.state, m.row, end, m.sure})
		case s.traced:
			s.add(Span{m.state, m.row, s.marks[i+1].row, m.sure})
		case last:
			if !s.Ended {
				s.Last = end
			}
			s.add(Span{m.state, m.row, m.row, false})
			s.add(Span{From: m.row, To: s.Last})
		case s.marks[i+1].state == m.state:
			s.add(Span{m.state, m.row, s.marks[i+1].row, false})
		default:
			s.add(Span{m.state, m.row, m.row, false})
			s.add(Span{From: m.row, To: s.marks[i+1].row})
		}
	}
	if len(s.marks) == 0 && s.Last > s.First {
		s.add(Span{From: s.First, To: s.Last})
	}
}

// add joins a span to the one before if it is of the same kind.
func (s *Socket) add(x Span) {
	if n := len(s.Spans); n > 0 {
		if p := &s.Spans[n-1]; p.State == x.State && p.Sure == x.Sure && p.To == x.From {
			p.To = x.To
			return
		}
	}
	s.Spans = append(s.Spans, x)
}

// mostColumns bounds how many bars stand side by side in a lane.
const mostColumns = 16

// stay is a bar that needs a column.
type stay struct {
	first, last int
	column      *int
}

// place gives each bar the first column that is free for its rows and one more
// above. It returns how many got none, whose column is -1.
func place(bars []*stay) (left int) {
	slices.SortStableFunc(bars, func(x, y *stay) int { return cmp.Compare(x.first, y.first) })
	var until []int // by column, the last row taken
	for _, s := range bars {
		i := slices.IndexFunc(until, func(last int) bool { return last+1 < s.first })
		switch {
		case i >= 0:
			until[i] = s.last
		case len(until) < mostColumns:
			i = len(until)
			until = append(until, s.last)
		default:
			left++
		}
		*s.column = i
	}
	return left
}
