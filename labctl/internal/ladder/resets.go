package ladder

import (
	"cmp"
	"fmt"

	"restartlab/labctl/internal/journal"
)

// ofReset is the index of the socket that an RST is of, -1 for none.
func (b *builder) ofReset(e *journal.Event) int { return b.socket(e, e.Reset.Cookie) }

// reset makes the row of an RST that a host's kernel sends, or lets a socket take.
func (b *builder) reset(m moment, host int) {
	r := m.e.Reset
	row := Row{Kind: ResetRow, Host: host, Detail: fmt.Sprintf("%s → %s, source: %s", r.Local, r.Remote, journal.SourceKernel)}
	who := cmp.Or(m.e.Host, "the host")
	if i := b.ofReset(m.e); i >= 0 {
		who, row.Sockets = b.ladder.Sockets[i].Name, []int{i}
	}
	switch {
	case !r.Sent:
		row.Text = who + " takes an RST"
	case r.Cookie != 0:
		row.Text = who + " sends an RST"
	default:
		row.Text = who + " answers with an RST"
	}
	if r.Reason != "" {
		row.Text += ": " + r.Reason
	}
	if r.State != "" {
		row.Detail += ", in " + r.State
	}
	b.put(m, row)
}
