package scenario

// stage is what is certain of a socket between two steps, given that every step
// so far has passed.
type stage int

const (
	unmade    stage = iota // no call was made on it
	unsure                 // it may be anything
	made                   // it is there, and has no address
	bound                  // it has an address, and neither listens nor is connected
	listening              //
	connected              //
	closed                 // its descriptor is
)

// standing is a socket's stage, and the line of the step that brought it there.
type standing struct {
	stage
	line int
}

// followSocket checks that the step's call can be made on its socket, refusing
// only what is certain never to work, and notes what is certain after it.
func (u *unroller) followSocket(f *stepForm, s *Step) {
	k := u.socketNamed(s.Socket)
	if k == nil {
		return
	}
	if u.lost || f.bad || f.verbs()[0].bad || f.Expect != nil && f.Expect.bad {
		u.standing[k.Name] = standing{unsure, s.Line}
		return
	}
	fails := s.Expect.NamesFailure()
	recorded := s.Expect != nil && s.Expect.Any
	before := u.standing[k.Name]
	at := f.verbs()[0].key
	switch {
	case before.stage == closed && s.Verb != VerbDestroy:
		u.wrong(f, at, "%s was closed in line %d; a new socket needs a name of its own", k.Name, before.line)
		return
	case before.stage == unmade && (s.Verb == VerbClose || s.Verb == VerbDestroy):
		u.wrong(f, at, "no call was made on %s before, so there is nothing to %s", k.Name, s.Verb)
		return
	case before.stage != unmade && s.Verb == VerbHold:
		u.wrong(f, at, "hold begins with a fresh socket, and calls were made on %s before", k.Name)
		return
	case s.Verb == VerbWait:
		switch before.stage {
		case unmade, made, bound, connected:
			u.wrong(f, at, "%s does not listen here, so no connection can wait at it", k.Name)
		}
		return
	}
	if !fails && !recorded {
		if why, errno := k.cannot(s, before.stage); why != "" {
			u.wrong(f, at, "%s can only fail here, with %s: %s %s; expect that", s.Verb, errno, k.Name, why)
			return
		}
		if to := s.Address; to.IsValid() && k.Kind != "" && to.Is4() != is4(k.Kind) {
			u.wrong(f, at, "%s has an address of another family than %s, which is %s%s", s.Verb, k.Name, k.Kind, mapped(to))
			return
		}
	}
	if s.Verb == VerbInherit && u.life[s.To] == running {
		u.wrong(f, at, "%s runs already, and the child of inherit is a new process", s.To)
	}
	u.life[k.maker()] = running
	if s.To != "" {
		u.life[s.To] = running
	}
	after := before.after(s, fails, recorded)
	if after != before.stage {
		u.standing[k.Name] = standing{after, s.Line}
	}
	if s.As != "" && !fails {
		u.make(f, s)
		now := standing{after, s.Line}
		if s.Verb == VerbAccept {
			now.stage = connected
		}
		if recorded {
			now.stage = unsure
		}
		u.standing[s.As] = now
	}
}

// cannot says why the call must fail on a socket of that stage, and with which
// errno.
func (k *Socket) cannot(s *Step, now stage) (why, errno string) {
	idle := now == unmade || now == made || now == bound
	if isUDP(k.Kind) {
		if s.Verb == VerbListen || s.Verb == VerbAccept {
			return "is " + k.Kind, "EOPNOTSUPP"
		}
		return "", ""
	}
	switch s.Verb {
	case VerbBind:
		switch now {
		case bound, listening, connected:
			return "has an address already", "EINVAL"
		}
	case VerbListen:
		if now == connected {
			return "is connected", "EINVAL"
		}
	case VerbConnect:
		if now == listening || now == connected {
			return "listens or is connected", "EISCONN"
		}
	case VerbAccept:
		if idle || now == connected {
			return "does not listen", "EINVAL"
		}
	case VerbSend:
		if idle || now == listening {
			return "is not connected", "EPIPE"
		}
	case VerbRecv:
		if idle || now == listening {
			return "is not connected", "ENOTCONN"
		}
	case VerbShutdown:
		if idle {
			return "is neither connected nor listening", "ENOTCONN"
		}
	}
	return "", ""
}

// after is what is certain of the socket after the step.
func (before standing) after(s *Step, fails, recorded bool) stage {
	now := before.stage
	if now == unmade {
		now = made
	}
	switch {
	case before.stage == unsure && s.Verb != VerbClose:
		return unsure
	case recorded:
		switch s.Verb {
		case VerbBind, VerbListen, VerbConnect, VerbShutdown, VerbClose, VerbDestroy:
			return unsure
		}
		return now
	case fails:
		if s.Verb == VerbBind || s.Verb == VerbAccept || s.Verb == VerbListen && before.stage != unmade {
			return now
		}
		return unsure
	}
	switch s.Verb {
	case VerbBind:
		return bound
	case VerbListen:
		return listening
	case VerbConnect:
		return connected
	case VerbClose:
		return closed
	case VerbShutdown:
		return unsure
	case VerbDestroy:
		if now != closed {
			return unsure
		}
	case VerbHold:
		return held(s)
	}
	return now
}

// held is what is certain of a socket that is held in a state.
func held(s *Step) stage {
	if s.Orphan {
		return closed
	}
	switch s.Hold {
	case "BOUND":
		return bound
	case "LISTEN":
		return listening
	case "ESTABLISHED", "CLOSE_WAIT":
		return connected
	}
	return unsure
}

// ended notes that a program has gone, or may have, with all its sockets.
func (u *unroller) ended(program string, line int) {
	now := standing{closed, line}
	switch u.life[program] {
	case gone:
	case unknown:
		now.stage = unsure
	default:
		return
	}
	for _, k := range u.lab.Sockets {
		if k.maker() == program && u.standing[k.Name].stage != unmade {
			u.standing[k.Name] = now
		}
	}
}
