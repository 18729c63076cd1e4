package campaign

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/study"
)

// Last is how the newest run of a scenario went.
type Last struct {
	Verdict journal.Verdict
	Started string // RFC 3339
	Kernel  string
}

// LastRuns finds, by scenario, the newest reports below Reports in the working
// directory. What cannot be read is passed over: it tells no verdict.
func LastRuns() map[string]Last {
	last := map[string]Last{}
	one, _ := filepath.Glob(filepath.Join(Reports, "*", JournalFile)) // the pattern is sound
	many, _ := filepath.Glob(filepath.Join(Reports, "*", "*", JournalFile))
	for _, path := range slices.Concat(one, many) {
		h, ok := readHeader(path)
		if !ok || last[h.Scenario.Name].Started > h.Started {
			continue
		}
		if v, ok := readVerdict(filepath.Join(filepath.Dir(path), report.TableFile)); ok {
			last[h.Scenario.Name] = Last{v, h.Started, h.Machine.Kernel}
		}
	}
	return last
}

func readHeader(path string) (*journal.Header, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	var e journal.Event
	if err != nil || json.Unmarshal(line, &e) != nil || e.Header == nil {
		return nil, false
	}
	return e.Header, true
}

func readVerdict(path string) (journal.Verdict, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	t, err := study.ReadCSV(f)
	if err != nil {
		return "", false
	}
	return (&report.Study{Table: t}).Outcome(), true
}
