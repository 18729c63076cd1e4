package scenario

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"
)

const (
	defaultWithin = 10 * time.Second
	defaultSignal = "SIGTERM"
	// maxSteps is how many steps a file may have when its loops are unrolled,
	// and maxWritten how many bytes of expectations.
	maxSteps   = 10_000
	maxWritten = 16 << 20
	// valueSize is about what a text costs in memory, besides its bytes.
	valueSize = 32
)

// unroller lays out the steps of a file one after another.
type unroller struct {
	*compiler
	visits  int            // steps looked at, the refused ones too
	ids     map[string]int // how often an id was wanted, in the whole file
	begun   map[string]bool
	known   map[string]bool // the ids of the steps so far, those that are not played too
	rounds  []round         // the rounds of repeats that are under way, outermost first
	written map[*yaml.Node][]byte
	size    int
	life    map[string]life
	// standing is what is known of each socket, and as where steps make names.
	standing map[string]standing
	as       map[string]*yaml.Node
	lost     bool // a step could not be read: what runs after it is unknown
}

// round finds the steps of one round of a repeat by the ids that they would
// have if the round were alone: within a round, since means the same round.
type round struct {
	ids  map[string]int
	real map[string]string
}

func newRound() round { return round{map[string]int{}, map[string]string{}} }

func (c *compiler) compileSteps() {
	u := &unroller{compiler: c, ids: map[string]int{}, begun: map[string]bool{}, known: map[string]bool{}, written: map[*yaml.Node][]byte{}, life: map[string]life{},
		standing: map[string]standing{}, as: map[string]*yaml.Node{}}
	u.explicitIDs(c.file.Steps, map[string]*yaml.Node{})
	u.madeNames(c.file.Steps)
	u.steps(c.file.Steps)
	c.spent.steps += u.visits
	c.spent.written += u.size
	if len(c.lab.Steps) == 0 && len(c.list) == 0 && c.lab.Cell != nil {
		c.add(c.file.Steps.at(), "no step is played here")
	}
}

// explicitIDs refuses an id that was given twice. In a repeat every round's
// step gets its own.
func (u *unroller) explicitIDs(l *list[stepForm], first map[string]*yaml.Node) {
	if l == nil {
		return
	}
	for _, f := range l.Items {
		if f.ID != nil && !f.ID.bad {
			if at, taken := first[f.ID.V]; taken {
				u.wrong(f.ID, f.ID.node, "the id %s stands in line %d already", f.ID.V, at.Line)
			} else {
				first[f.ID.V] = f.ID.node
			}
		}
		if f.Repeat != nil {
			u.explicitIDs(f.Repeat.Steps, first)
		}
	}
}

// steps lays out a list. It reports false when there are too many.
func (u *unroller) steps(l *list[stepForm]) bool {
	if l == nil {
		return true
	}
	for _, f := range l.Items {
		if u.visits++; u.visits > maxSteps || u.size > maxWritten || len(u.list) > maxProblems {
			u.add(f.at(), "the steps are too many: unrolled, a file may have %d, and %d MiB of expectations", maxSteps, maxWritten>>20)
			return false
		}
		if f.Repeat != nil && f.verb() == verbRepeat {
			if !u.repeat(f) {
				return false
			}
			continue
		}
		u.step(f)
	}
	return true
}

func (u *unroller) repeat(f *stepForm) bool {
	if f.skipped {
		u.muted++
		defer func() { u.muted-- }()
	}
	for _, p := range f.own() {
		u.wrong(f, p.key, "a repeat has no %s of its own; give it to a step inside", p.key.Value)
	}
	r := f.Repeat
	if r.bad || r.Times == nil || r.Times.bad {
		return u.steps(r.Steps) // once, for its problems
	}
	for range r.Times.V {
		u.rounds = append(u.rounds, newRound())
		if f.skipped {
			for _, inner := range r.Steps.Items {
				inner.skipped = true
			}
		}
		ok := u.steps(r.Steps)
		u.rounds = u.rounds[:len(u.rounds)-1]
		if !ok {
			return false
		}
	}
	return true
}

// verbs are the places of the step's verbs, in the order of the language.
func (f *stepForm) verbs() (places []*place) {
	for _, p := range present(f) {
		if slices.Contains(verbNames(), p.key.Value) {
			places = append(places, p)
		}
	}
	return places
}

// verbNames are the fields of a step that are verbs.
var verbNames = sync.OnceValue(func() (names []string) {
	form := reflect.TypeFor[stepForm]()
	verb := reflect.TypeFor[verbForm]()
	for _, f := range fieldNames(form) {
		if form.Field(f.index).Type.Implements(verb) {
			names = append(names, f.name)
		}
	}
	return names
})

// own are the places of what a step has besides its verb.
func (f *stepForm) own() (places []*place) {
	if f.ID != nil {
		places = append(places, &f.ID.place)
	}
	if f.Title != nil {
		places = append(places, &f.Title.place)
	}
	if f.Within != nil {
		places = append(places, &f.Within.place)
	}
	if f.Expect != nil {
		places = append(places, &f.Expect.place)
	}
	return places
}

// verb is the step's one verb, or empty if it has none or several.
func (f *stepForm) verb() string {
	if v := f.verbs(); len(v) == 1 {
		return v[0].key.Value
	}
	return ""
}

// step compiles one step and appends it. One that is not played counts for the
// numbers of ids alone, so that a step's id is the same in every cell.
func (u *unroller) step(f *stepForm) {
	if f.skipped {
		u.muted++
		defer func() { u.muted-- }()
	}
	verbs := f.verbs()
	u.lost = u.lost || len(verbs) != 1
	switch {
	case len(verbs) == 0 && !f.bad:
		u.wrong(f, f.at(), "a step needs a verb: %s", oneOf(verbNames()))
		return
	case len(verbs) == 0:
		return
	case len(verbs) > 1:
		u.wrong(f, verbs[1].key, "a step has one verb, and %s stands in line %d already; begin a new step with -", verbs[0].key.Value, verbs[0].key.Line)
		return
	}
	u.unchanging(verbs[0], f)
	s := Step{Verb: verbs[0].key.Value, Title: f.Title.value(), Line: f.node.Line, Within: defaultWithin}
	if f.Within != nil && !f.Within.bad {
		if s.Within = f.Within.V; s.Within == 0 {
			u.wrong(f, f.Within.node, "a deadline of 0s leaves no time to see anything")
		}
	}
	kind := u.act(f, &s)
	s.ID = u.id(f, &s)
	u.known[s.ID] = true
	if f.skipped {
		return
	}
	u.expectation(f, &s, kind)
	if f.Wait != nil && f.Wait.Until != nil {
		s.Written = joined(u.json(f.Wait.Until.node), s.Written)
	}
	u.size += len(s.Written)
	u.follow(f, &s)
	u.followSocket(f, &s)
	u.ended(s.Program, s.Line)
	s.Index = len(u.lab.Steps) + 1
	u.lab.Steps = append(u.lab.Steps, s)
	u.begun[s.ID] = true
}

// act fills in what the step's verb does, and says what can be seen of it.
func (u *unroller) act(f *stepForm, s *Step) sight {
	switch {
	case f.Start != nil:
		s.Program = u.program(f.Start.Program)
		return u.sightOf(s)
	case f.Run != nil:
		s.Program = u.program(f.Run.Program)
		return u.sightOf(s)
	case f.Stop != nil:
		s.Program = u.program(f.Stop.Program)
		s.Signal = defaultSignal
		if f.Stop.Signal != nil {
			s.Signal = f.Stop.Signal.V
		}
		if s.Signal == "SIGSTOP" {
			u.wrong(f, f.Stop.Signal.node, "SIGSTOP halts a program and never ends it, and stop waits for its end; use signal")
		}
		return sight{"stop", ofExec, ""}
	case f.Signal != nil:
		s.Program = u.program(f.Signal.Program)
		if f.Signal.Signal != nil {
			s.Signal = f.Signal.Signal.V
		}
		return sight{"signal", ofCall, " (signal does not wait: expect the program's end at a stop, or wait until {exit: ...})"}
	case f.Wait != nil:
		u.wait(f, s)
		return sight{"wait", ofTime, " (what is waited for stands in until)"}
	case f.Netstat != nil:
		s.Host = u.hostName(f.Netstat.Host, f.Netstat)
		return sight{"netstat", ofTable, ""}
	case f.Sysctl != nil:
		s.Host = u.hostName(f.Sysctl.Host, f.Sysctl)
		s.Sysctls = u.sysctls(f.Sysctl.Values)
		u.size += valueSize * len(s.Sysctls)
		if v := f.Sysctl.Values; v != nil && !v.bad && len(v.Entries) == 0 {
			u.wrong(f, v.at(), "values is empty; it needs a setting, such as net.ipv4.tcp_fin_timeout: 5")
		}
		return sight{"sysctl", ofCall, ""}
	case f.Link != nil:
		s.Host = u.hostName(f.Link.Host, f.Link)
		if f.Link.State != nil {
			s.State = f.Link.State.V
		}
		return sight{"link", ofCall, ""}
	}
	return u.call(f, s)
}

func (u *unroller) wait(f *stepForm, s *Step) {
	w := f.Wait
	switch {
	case w.bad:
		return
	case w.For != nil && w.Until != nil:
		u.wrong(f, w.For.key, "a wait ends when until is seen, or after for; choose one")
		return
	case w.For == nil && w.Until == nil:
		u.wrong(f, w.at(), "a wait needs until: what must be seen, or for: how long to let pass")
		return
	case w.For != nil:
		s.For, s.Within = w.For.V, 0
		for _, name := range []*str{w.Host, w.Program, w.Socket} {
			if name != nil {
				u.wrong(f, name.key, "a wait for a time looks at nothing, so it has no %s", name.key.Value)
			}
		}
		if f.Within != nil {
			u.wrong(f, f.Within.key, "a wait for a time has no deadline; leave within out")
		}
		if !w.For.bad && s.For == 0 {
			u.wrong(f, w.For.node, "a wait for 0s does nothing")
		}
		return
	}
	if at := present(&waitForm{Host: w.Host, Program: w.Program, Socket: w.Socket}); len(at) > 1 {
		u.wrong(f, at[1].key, "a wait looks at a host, a program or a socket; choose one")
		return
	}
	what, possible := "a host", ofTable
	if w.Program != nil {
		s.Program = u.program(w.Program)
		what, possible = "a program", ofProgram
		if p := u.planned(s.Program); p != nil && p.isActor() && w.Until.Lines != nil {
			u.wrong(f, w.Until.Lines.key, "%s makes the calls of steps and prints nothing", s.Program)
		}
	} else if w.Socket != nil {
		u.socketOf(w.Socket, s)
		what, possible = "a socket", ofQueue
	} else if w.Host == nil && w.Until.ofProgram() {
		u.wrong(f, w.at(), "of which program? add program: %s", oneOf(u.programNames()))
		return
	} else {
		s.Host = u.hostName(w.Host, w)
	}
	s.Until = u.until(w.Until, what, possible)
}

// ofProgram reports whether the until can only be meant of a program.
func (f *untilForm) ofProgram() bool { return f.Lines != nil || f.Exit != nil || f.Signal != nil }

func (u *unroller) hostName(name *str, owner placed) string {
	if h := u.hostOf(name, owner); h != nil {
		return h.Name
	}
	return ""
}

// program looks up a program's name.
func (u *unroller) program(name *str) string {
	if name == nil || name.bad {
		return ""
	}
	if _, ok := u.programs[name.V]; !ok {
		if u.socketNamed(name.V) != nil {
			u.wrong(name, name.node, "%s is a socket; a program is needed here, or close", name.V)
			return ""
		}
		if len(u.programs) == 0 {
			u.wrong(name, name.node, "there is no program %s; programs declares none", shortly(name.V))
			return ""
		}
		u.wrong(name, name.node, "there is no program %s%s", shortly(name.V), rather(name.V, u.programNames()))
		return ""
	}
	return name.V
}

func (c *compiler) programNames() []string { return sorted(c.programs) }

// planned is a program by its name, nil if there is none that is to be relied on.
func (c *compiler) planned(name string) *Program {
	if i, ok := c.programs[name]; ok && !c.unclear[name] {
		return &c.lab.Programs[i]
	}
	return nil
}

// compact is a duration as people write it: "1h", not "1h0m0s".
func compact(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// id is the step's id: its own or its verb and object, numbered from the
// second on.
func (u *unroller) id(f *stepForm, s *Step) string {
	wanted := strings.TrimSpace(s.Verb + " " + s.Program + s.Host + s.Socket)
	if s.For > 0 {
		wanted += " " + compact(s.For)
	}
	if f.ID != nil {
		wanted = f.ID.V
	}
	id := numbered(u.ids, wanted)
	for _, r := range u.rounds {
		r.real[numbered(r.ids, wanted)] = id
	}
	return id
}

func numbered(count map[string]int, id string) string {
	if count[id]++; count[id] > 1 {
		return id + " " + number(int64(count[id]))
	}
	return id
}

// since looks up the id of a step that began before this one.
func (u *unroller) since(s *str, self string) string {
	if s.bad {
		return ""
	}
	for i := len(u.rounds) - 1; i >= 0; i-- {
		if id := u.rounds[i].real[s.V]; u.begun[id] {
			return id
		}
	}
	if !u.begun[s.V] {
		why := "no step of that id stands before this one"
		switch {
		case s.V == self:
			why = "that is this step itself; leave since out"
		case u.known[s.V]:
			why = "the step of that id is not played"
		}
		delete(u.known, self)
		ids := sorted(u.known)
		u.wrong(s, s.node, "since: %s: %s%s", s.V, why, rather(s.V, ids[:min(len(ids), 500)]))
		return ""
	}
	return s.V
}
