package runner

import "restartlab/labctl/internal/scenario"

// crew is an actor's process that labs share.
type crew struct {
	channel int
}

func (l *lab) join(spec *scenario.Program) (*process, error) { return l.launch(spec) }
