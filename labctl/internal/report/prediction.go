package report

import (
	"fmt"

	"restartlab/labctl/internal/journal"
)

// score says how many predictions came true; empty if none was made.
func (r *Report) score() string {
	if len(r.Predictions) == 0 {
		return ""
	}
	right := 0
	for _, p := range r.Predictions {
		if p.Right {
			right++
		}
	}
	return fmt.Sprintf("%d of %d right", right, len(r.Predictions))
}

func verdictOf(p journal.Prediction) string {
	if p.Right {
		return "right"
	}
	return "wrong"
}

func predictionText(p journal.Prediction) string {
	text := fmt.Sprintf("predicted of step %d (%s): %s %s", p.Index, p.ID, p.Question, p.Answer)
	if p.Right {
		return text + "; right"
	}
	return text + "; wrong, it was: " + p.Seen
}
