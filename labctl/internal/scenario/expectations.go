package scenario

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// A sight is what can be seen of a step: the fields that its expect may have.
type sight struct {
	of     string // what the step is, in a message
	fields []string
	why    string // and why there are no others
}

const unrecorded = ": the system calls of an exec program are not recorded, so its %s cannot be seen; expect exit or lines, or wait for states"

// sightOf is what can be seen of a start or run of a program.
func (u *unroller) sightOf(s *Step) sight {
	p := u.planned(s.Program)
	switch {
	case p == nil:
		return sight{}
	case p.Server != nil:
		return sight{s.Verb + " of a server", ofServer, ""}
	case p.Client != nil:
		return sight{s.Verb + " of a client", ofClient, ""}
	case p.Exec != nil:
		return sight{s.Verb + " of an exec program", ofExec, ""}
	}
	return sight{}
}

// expectation compiles the step's expect.
func (u *unroller) expectation(f *stepForm, s *Step, can sight) {
	e := f.Expect
	if e == nil || e.bad && !e.any {
		return
	}
	s.Written = u.json(e.node)
	if e.any {
		s.Expect = &Expect{Any: true}
		return
	}
	if u.empty(e, &e.place, "expect") || can.fields == nil {
		return
	}
	for _, field := range present(e) {
		name := field.key.Value
		switch {
		case name == "when" || slices.Contains(can.fields, name):
		case strings.HasSuffix(can.of, "exec program") && slices.Contains([]string{"bind", "listen", "holders", "connect"}, name):
			u.wrong(e, field.key, "%s"+unrecorded, name, name)
		default:
			u.wrong(e, field.key, "%s cannot expect %s; it can expect %s%s", can.of, name, allOf(can.fields), can.why)
		}
	}
	if e.bad {
		return
	}
	x := &Expect{
		Result: e.Result.name(), Bind: e.Bind.name(), Listen: e.Listen.name(), Connect: e.Connect.name(),
		Exit: u.exitCode(e.Exit), Signal: e.Signal.name(), Lines: u.lines(e.Lines),
		Queued: u.amount(e.Queued), Port: u.amount(e.Port), Took: u.took(e.Took, s),
	}
	if e.Text != nil {
		x.Text = e.Text.V
	}
	if e.Holders != nil {
		x.Holders = u.tally(&e.Holders.each)
	}
	if e.States != nil {
		x.States = u.tally(&e.States.each)
	}
	s.Expect = x
	u.contradictions(e, s)
}

// until compiles what a wait waits for.
func (u *unroller) until(f *untilForm, what string, possible []string) *Expect {
	if f.bad || u.empty(f, &f.place, "until") {
		return nil
	}
	for _, field := range present(f) {
		if name := field.key.Value; !slices.Contains(possible, name) {
			u.wrong(f, field.key, "a wait for %s cannot see %s; it can see %s", what, name, allOf(possible))
		}
	}
	if f.Exit != nil && f.Signal != nil {
		u.wrong(f, f.Signal.key, "a program exits with a code or is ended by a signal, never both")
	}
	x := &Expect{Exit: u.exitCode(f.Exit), Signal: f.Signal.name(), Lines: u.lines(f.Lines), Queued: u.amount(f.Queued)}
	if f.States != nil {
		x.States = u.tally(&f.States.each)
	}
	return x
}

func (u *unroller) empty(form placed, p *place, what string) bool {
	if there := present(form); p.bad || len(there) > 1 || len(there) == 1 && there[0].key.Value != "when" {
		return p.bad
	}
	u.wrong(form, p.at(), "%s is empty, so it says nothing; name what must be seen", what)
	return true
}

// present are the places of a form's fields that the file has.
func present(form placed) (places []*place) {
	v := reflect.ValueOf(form).Elem()
	for _, f := range fieldNames(v.Type()) {
		if field := v.Field(f.index); !field.IsNil() {
			places = append(places, field.Interface().(placed).spot())
		}
	}
	return places
}

// contradictions tells what can never be seen, whatever the kernel does.
func (u *unroller) contradictions(e *expectForm, s *Step) {
	x := s.Expect
	failed := func(outcome string) bool { return outcome != "" && outcome != "ok" }
	if failed(x.Bind) && x.Listen != "" {
		u.wrong(e, e.Listen.key, "after a bind that fails, listen is never called, so it cannot be seen")
	}
	switch call := s.Verb == VerbBind || s.Verb == VerbListen; {
	case x.Holders == nil:
	case call && !failed(x.Result):
		u.wrong(e, e.Holders.key, "holders are looked for only when %s fails; add result: EADDRINUSE", s.Verb)
	case !call && !failed(x.Bind) && !failed(x.Listen):
		u.wrong(e, e.Holders.key, "holders are looked for only when bind or listen fails; add bind: EADDRINUSE or listen: EADDRINUSE")
	}
	switch {
	case e.Text != nil && x.Text == "" && !e.Text.bad:
		u.wrong(e, e.Text.key, "a text is not empty; at the end of the stream, expect nothing but result: ok")
	case e.Text != nil && failed(x.Result):
		u.wrong(e, e.Text.key, "a recv that fails reads no text")
	case e.Port != nil && s.Verb == VerbBind && failed(x.Result):
		u.wrong(e, e.Port.key, "a bind that fails gives no port")
	}
	if e.Exit != nil && e.Signal != nil {
		u.wrong(e, e.Signal.key, "a program exits with a code or is ended by a signal, never both")
	}
	if s.Verb == VerbStart && x.Listen == "ok" && (e.Exit != nil || e.Signal != nil) {
		u.wrong(e, e.Listen.key, "start is done as soon as the server listens, so with listen: ok no exit or signal can be seen; stop it in a step of its own")
	}
	if t := x.Took; t != nil {
		longest := s.Within
		if s.For > 0 {
			if t.Since == "" && t.Max != nil && *t.Max < int64(s.For) {
				u.wrong(e, e.Took.key, "the step waits for %s, so it cannot take less", s.For)
			}
			return
		}
		if t.Since == "" && t.Min != nil && *t.Min > int64(longest) {
			u.wrong(e, e.Took.key, "the step ends at its deadline of %s, so it cannot take %s; add within to the step", longest, time.Duration(*t.Min))
		}
	}
}

func (o *outcome) name() string {
	if o == nil {
		return ""
	}
	return o.V
}

func (s *signalName) name() string {
	if s == nil {
		return ""
	}
	return s.V
}

func (u *unroller) lines(l *list[scalar]) (lines []string) {
	if l == nil {
		return nil
	}
	u.size += valueSize * len(l.Items)
	for _, s := range l.Items {
		u.line(s)
		lines = append(lines, s.V)
	}
	return lines
}

func (u *unroller) amount(a *amount) *Amount {
	if a == nil || a.bad {
		return nil
	}
	x := &Amount{}
	if a.Min != nil {
		x.Min = &a.Min.V
	}
	if a.Max != nil {
		x.Max = &a.Max.V
	}
	u.ordered(a, x)
	return x
}

// exitCode is the amount of an exit code, which has eight bits (wait(2)).
func (u *unroller) exitCode(a *amount) *Amount {
	x := u.amount(a)
	if x != nil && x.Min != nil && *x.Min > 255 {
		u.wrong(a, a.Min.node, "an exit code is at most 255")
	}
	return x
}

func (u *unroller) tally(m *dict[amount]) Tally {
	t := Tally{}
	for _, e := range m.Entries {
		if a := u.amount(e.Value); a != nil {
			t[e.Key] = a
		}
	}
	return t
}

func (u *unroller) took(f *took, s *Step) *Took {
	if f == nil || f.bad {
		return nil
	}
	t := &Took{}
	if f.Min != nil {
		min := int64(f.Min.V)
		t.Min = &min
	}
	if f.Max != nil {
		max := int64(f.Max.V)
		t.Max = &max
	}
	if f.Since != nil {
		t.Since = u.since(f.Since, s.ID)
	}
	u.ordered(f, &t.Amount)
	return t
}

// ordered refuses a range that holds nothing, and one that says nothing.
func (u *unroller) ordered(p placed, a *Amount) {
	switch at := p.spot(); {
	case at.bad:
	case a.Min == nil && a.Max == nil:
		u.wrong(p, at.at(), "a range needs min, max or both")
	case a.Min != nil && a.Max != nil && *a.Min > *a.Max:
		u.wrong(p, at.at(), "min is greater than max, so nothing lies between")
	}
}

// json is a part of the file as compact JSON, its keys in the order written.
// It is nil once there is a problem: an unsound tree may be endless.
func (u *unroller) json(n *yaml.Node) json.RawMessage {
	if len(u.list) > 0 {
		return nil
	}
	if b, ok := u.written[n]; ok {
		return b
	}
	b := u.appendJSON(nil, n, true)
	u.written[n] = b
	return b
}

// joined is one JSON object with the fields of both: what a wait waits for, and
// what else is expected of it. Neither has a field of the other's.
func joined(until, expect json.RawMessage) json.RawMessage {
	if len(until) < 2 || len(expect) < 3 || expect[0] != '{' {
		return until // expect: any adds nothing
	}
	if len(until) == 2 {
		return expect
	}
	return slices.Concat(until[:len(until)-1], []byte(","), expect[1:])
}

// appendJSON writes a tree as the cell has it. The when of a row is no part of
// what is expected.
func (u *unroller) appendJSON(b []byte, n *yaml.Node, row bool) []byte {
	text := func(s string) {
		quoted, _ := json.Marshal(s) // a string always marshals
		b = append(b, quoted...)
	}
	switch n = u.look(n); n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		first := true
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := u.look(n.Content[i]).Value
			if row && key == "when" {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			text(key)
			b = append(b, ':')
			b = u.appendJSON(b, n.Content[i+1], false)
		}
		return append(b, '}')
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, item := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			b = u.appendJSON(b, item, false)
		}
		return append(b, ']')
	}
	if n.Tag == "!!int" && json.Valid([]byte(n.Value)) || n.Tag == "!!bool" {
		return append(b, strings.ToLower(n.Value)...)
	}
	text(n.Value)
	return b
}
