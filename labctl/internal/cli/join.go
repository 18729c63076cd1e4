package cli

import (
	"fmt"
	"strconv"
	"strings"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/sandbox"
)

// joined reads --join HOST=PID,... and opens what it names. The caller closes it.
func joined(pairs []string) (*sandbox.Join, error) {
	pids := map[string]int{}
	for _, pair := range pairs {
		host, text, _ := strings.Cut(pair, "=")
		pid, err := strconv.Atoi(text)
		if host == "" || err != nil || pid < 1 {
			return nil, fmt.Errorf("--join %s: write --join HOST=PID,HOST=PID with the hosts of the scenario and processes on this machine", pair)
		}
		if _, twice := pids[host]; twice {
			return nil, fmt.Errorf("--join %s: %s stands there twice", pair, host)
		}
		pids[host] = pid
	}
	if len(pids) > 2 {
		return nil, fmt.Errorf("--join: a lab has one host or two, not %d", len(pids))
	}
	join, err := sandbox.OpenJoin(pids)
	if err != nil {
		return nil, &exitError{campaign.Impossible, err}
	}
	return join, nil
}
