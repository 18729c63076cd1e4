package explain

import "restartlab/labctl/internal/journal"

// History remembers of a journal what explanations need.
type History struct{ refusals map[int]Explanation }

// Add takes the next event.
func (h *History) Add(e journal.Event) {}

// Holders sorts rows.
func (h *History) Holders(refused journal.Event, rows []journal.Socket) []Holder { return nil }

// Refusal explains the refused bind or listen of event n.
func (h *History) Refusal(n int) (Explanation, bool) { x, ok := h.refusals[n]; return x, ok }
