package journal

// Pause is the lab's wait for its reader before a step (run --step).
type Pause struct {
	Phase    Phase  `json:"phase"` // begin, end
	Index    int    `json:"index"` // of the step to come, from 1
	ID       string `json:"id"`
	Title    Text   `json:"title,omitzero"`
	Duration int64  `json:"duration_ns,omitempty"` // end: how long the lab was held
}

// Prediction is what the reader of a run said that a step would do, before it was
// shown (run --predict), and what it did.
type Prediction struct {
	Index    int      `json:"index"` // of the step, from 1
	ID       string   `json:"id"`
	Question string   `json:"question"`
	Choices  []string `json:"choices"`
	Answer   string   `json:"answer"` // one of Choices
	Seen     string   `json:"seen"`   // what the step did: one of Choices, or other words
	Right    bool     `json:"right"`
}
