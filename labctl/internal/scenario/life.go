package scenario

// life is what is certain of a program between two steps, given that every
// step so far has passed: the first that fails ends the lab.
type life int

const (
	never   life = iota // it was never started
	unknown             // it may run or not
	running
	gone
)

// follow checks that the step's program can be in the state that the step needs,
// refusing only what is certain never to work, and notes what is certain after
// it.
func (u *unroller) follow(f *stepForm, s *Step) {
	p := u.planned(s.Program)
	if p == nil || u.lost || f.bad || f.Expect != nil && f.Expect.bad {
		if s.Program != "" {
			u.life[s.Program] = unknown
		}
		return
	}
	before := u.life[s.Program]
	fails := s.Expect.NamesFailure()
	recorded := s.Expect != nil && s.Expect.Any
	at := f.verbs()[0].key
	switch s.Verb {
	case VerbStart, VerbRun:
		if p.isActor() {
			u.wrong(f, at, "%s makes the calls of steps, and begins with the first; leave this step out", s.Program)
			return
		}
		if before == running {
			u.wrong(f, at, "%s is still running here, and a program runs once at a time; stop it first", s.Program)
		}
		if s.Verb == VerbRun && p.neverEnds() && !fails && !recorded {
			u.wrong(f, at, "run waits for the exit of %s, which %s; use start, or expect it to fail", s.Program, p.staysBecause())
		}
	case VerbStop, VerbSignal, VerbWait:
		if before == never {
			u.wrong(f, at, "%s was never started before this step", s.Program)
		}
		if s.Verb != VerbWait && before == gone && !fails && !recorded {
			u.wrong(f, at, "%s has ended before this step", s.Program)
		}
	}
	u.life[s.Program] = after(s, p, before, fails, recorded)
}

func after(s *Step, p *Program, before life, fails, recorded bool) life {
	switch s.Verb {
	case VerbStart:
		switch {
		case recorded || p.Exec != nil:
			return unknown
		case fails:
			return gone
		case p.neverEnds():
			return running
		}
		return unknown // a client ends by itself
	case VerbRun, VerbStop:
		if recorded {
			return unknown
		}
		return gone
	case VerbSignal:
		if before == running {
			return unknown
		}
	case VerbWait:
		if s.Until != nil && (s.Until.Exit != nil || s.Until.Signal != "") {
			return gone
		}
	}
	return before
}

// neverEnds reports whether only a signal ends the program once it has begun
// well.
func (p *Program) neverEnds() bool {
	return p.Server != nil || p.Client != nil && p.Client.Hold
}

func (p *Program) staysBecause() string {
	if p.Server != nil {
		return "serves until a signal comes"
	}
	return "holds its connections until a signal comes"
}
