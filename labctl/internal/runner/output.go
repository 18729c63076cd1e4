package runner

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// output is a stream of a process, cut into lines.
type output struct {
	fd      int // -1 at its end
	stream  string
	pending []byte
	begun   []byte // the parts already told of the line that pending goes on
}

const (
	longest   = 4096    // bytes of a line that come in one event
	mostBytes = 1 << 20 // of a process's output that are recorded
	mostLines = 10_000
)

// readOutput reads once, and little: a program that prints without end must not
// keep the poller from the others.
func (p *process) readOutput(o *output) { p.read(o, make([]byte, longest)) }

// drain reads what a process that is gone has left in its pipe. That is bounded by
// the pipe's size, though a child that has the pipe too may go on writing.
func (p *process) drain(o *output) {
	left, err := unix.FcntlInt(uintptr(max(o.fd, 0)), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		left = 1 << 20 // pipe(7): the most that an ordinary user can ask for
	}
	buf := make([]byte, 32<<10)
	for left > 0 && o.fd >= 0 {
		n := p.read(o, buf)
		if n == 0 {
			return
		}
		left -= n
	}
}

// read reads at most len(buf) bytes and returns how many; 0 if there is nothing
// now, or nothing more ever.
func (p *process) read(o *output, buf []byte) int {
	n, err := unix.Read(o.fd, buf)
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0 // the poller calls again
	}
	p.lab.mu.Lock()
	defer p.lab.mu.Unlock()
	if err != nil || n == 0 {
		p.flush(o)
		p.lab.poller.forget(o.fd)
		o.fd = -1
		return 0
	}
	p.take(o, buf[:n])
	return n
}

// take cuts what the process has printed into lines. mu is held.
func (p *process) take(o *output, data []byte) {
	o.pending = append(o.pending, data...)
	for {
		if i := bytes.IndexByte(o.pending, '\n'); i >= 0 && i <= longest {
			p.line(o, o.pending[:i], false)
			o.pending = o.pending[i+1:]
			continue
		}
		if len(o.pending) <= longest {
			return
		}
		cut := longest
		for cut > longest-utf8.UTFMax && !utf8.RuneStart(o.pending[cut]) {
			cut--
		}
		p.line(o, o.pending[:cut], true)
		o.pending = o.pending[cut:]
	}
}

// flush journals a last line without an end.
func (p *process) flush(o *output) {
	if len(o.pending) > 0 {
		p.line(o, o.pending, false)
		o.pending = nil
	}
}

// line journals a line or a part of one, and keeps whole ones for expectations.
// mu is held.
func (p *process) line(o *output, b []byte, partial bool) {
	p.lab.notify()
	if p.kept += len(b) + 1; p.kept > mostBytes || len(p.lines) == mostLines {
		p.unkept++
		return
	}
	whole := append(o.begun, b...)
	if o.begun = nil; partial {
		o.begun = whole
	} else {
		p.lines = append(p.lines, text(whole))
	}
	var t int64 // now
	if p.hand != nil {
		t = p.hand.ended // its last words come a moment after its end
	}
	p.lab.emit(p.event(journal.Event{T: t, Kind: journal.KindProcess,
		Process: &journal.Process{Phase: journal.PhaseOutput, Stream: o.stream, Line: text(b), Partial: partial}}))
}

// text is a line as the journal can hold it.
func text(b []byte) string {
	return strings.ToValidUTF8(strings.TrimSuffix(string(b), "\r"), "\uFFFD")
}
