package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/view"
)

// hands are the reader's: Enter before each step, and what they say that a step
// will do. Neither flag set, there are none.
type hands struct {
	step, predict bool

	ctx   context.Context
	lines chan string   // what the reader types, closed at its end
	next  chan struct{} // lets a step of the lab begin
	said  bool          // that the input has ended

	question *view.Question // about the step under way, and its answer
	answer   string
	made     []journal.Prediction
	right    int
}

// begin reads the reader's lines. The goroutine ends with the input; a read that
// nothing ends anew ends with the program.
func (h *hands) begin(ctx context.Context, in io.Reader) {
	if !h.step && !h.predict {
		return
	}
	h.ctx = ctx
	h.lines = make(chan string)
	if h.step {
		h.next = make(chan struct{}, 1)
	}
	go func() {
		defer close(h.lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case h.lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
}

// line is the next line; false when there is none any more.
func (h *hands) line() (string, bool) {
	select {
	case text, ok := <-h.lines:
		return text, ok
	case <-h.ctx.Done():
		return "", false
	}
}

// before is called with each event before it is shown. It returns when the view
// may go on; the lab does not wait for a question.
func (h *hands) before(v *view.View, e journal.Event) {
	if !h.predict || h.said || e.StepRun == nil || e.StepRun.Phase != journal.PhaseBegin {
		return
	}
	if h.question = view.NewQuestion(e.StepRun); h.question == nil || h.ctx.Err() != nil {
		h.question = nil
		return
	}
	v.Ask(h.question)
	defer v.Answered()
	for {
		text, more := h.line()
		choice, ok := h.question.Choice(text)
		switch {
		case !more:
			h.said = true
			h.question = nil
			return
		case ok:
			h.answer = choice
			return
		case text == "":
			h.question = nil
			return
		}
		v.Again(h.question)
	}
}

// after is called with each event when it has been shown.
func (h *hands) after(v *view.View, e journal.Event) {
	if e.Pause != nil && e.Pause.Phase == journal.PhaseBegin && h.step {
		go func() { // the view shows the seconds of TIME_WAIT meanwhile
			if _, ok := h.line(); ok {
				v.Entered()
			}
			select {
			case h.next <- struct{}{}:
			case <-h.ctx.Done():
			}
		}()
	}
	if h.question == nil || e.StepRun == nil || e.StepRun.Phase != journal.PhaseEnd {
		return
	}
	if p, ok := h.question.Judge(h.answer, e.StepRun); ok {
		h.made = append(h.made, p)
		if p.Right {
			h.right++
		}
		v.Predicted(p, h.right, len(h.made))
	}
	h.question = nil
}

// predictions are all that were made and judged.
func (h *hands) predictions() []journal.Prediction { return h.made }

// check refuses what hands cannot do.
func (h *hands) check(labs int) error {
	if (h.step || h.predict) && labs != 1 {
		return fmt.Errorf("--step and --predict show one lab to one reader: name one scenario without a matrix, not %d labs", labs)
	}
	return nil
}
