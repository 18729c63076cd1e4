package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

// TestFrugal counts the descriptors and threads of the inside with one lab and with
// 21 labs side by side, each with two hosts, a server and a client that is connected,
// and every observer. A lab may cost 12 descriptors and 4 threads.
func TestFrugal(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer scenario.Layer) {
		if layer == scenario.BothLayers {
			layer = scenario.BestLayer // nobody has both but tests
		}
		const more = 20
		oneFiles, oneThreads := costs(t, 1, layer)
		files, threads := costs(t, 1+more, layer)
		perFiles, perThreads := float64(files-oneFiles)/more, float64(threads-oneThreads)/more
		t.Logf("1 lab: %d descriptors, %d threads; %d labs: %d, %d; each more: %.1f, %.1f", oneFiles, oneThreads, 1+more, files, threads, perFiles, perThreads)
		if perFiles > 12 || perThreads > 4 {
			t.Errorf("a lab costs %.1f descriptors and %.1f threads; 12 and 4 are allowed", perFiles, perThreads)
		}
	})
}

// costs plays labs side by side until all wait, and counts what the inside has
// then.
func costs(t *testing.T, labs int, layer scenario.Layer) (files, threads int) {
	t.Helper()
	plan := load(t, `
name: frugal
programs:
  app:     {host: server, server: {serve: hold}}
  visitor: {host: client, client: {address: server, hold: true}}
steps:
  - start: app
  - start: visitor
  - {wait: {for: 1h}, id: wait}
`)
	lab := plan.Labs[0]
	plan.Labs, plan.Layer, plan.Jobs = nil, layer, labs
	for i := range labs {
		lab.Name = fmt.Sprintf("frugal-%d", i)
		plan.Labs = append(plan.Labs, lab)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	waiting := 0
	err := sandbox.Run(ctx, plan, journal.Header{Version: journal.Version}, &bytes.Buffer{}, func(e journal.Event) {
		if e.StepRun == nil || e.StepRun.ID != "wait" || e.StepRun.Phase != journal.PhaseBegin {
			return
		}
		if waiting++; waiting == labs {
			files, threads = insideCosts(t)
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if waiting != labs {
		t.Fatalf("%d of %d labs came to wait", waiting, labs)
	}
	return files, threads
}

// insideCosts counts the descriptors and threads of the inside, the child of this
// process that has the most threads.
func insideCosts(t *testing.T) (files, threads int) {
	t.Helper()
	var children []int
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil {
				children = append(children, pid)
			}
		}
	}
	if len(children) != 1 {
		t.Fatalf("%d children", len(children))
	}
	count := func(folder string) int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", children[0], folder))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if testing.Verbose() {
		kinds := map[string]int{}
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", children[0]))
		for _, l := range links {
			to, _ := os.Readlink(l)
			kind, _, _ := strings.Cut(to, ":[")
			kinds[kind]++
		}
		var text []string
		for k, n := range kinds {
			text = append(text, fmt.Sprintf("%s %d", k, n))
		}
		sort.Strings(text)
		t.Logf("descriptors: %s", strings.Join(text, ", "))
	}
	return count("fd"), count("task")
}
