// Package campaign carries scenarios from file to report: it starts an inside
// for each, keeps its journal on disk, shows it, and writes the reports.
//
// It promises that the journal is on disk before anything is shown, that a slow
// terminal never holds up a lab, and that what it makes in the file system is
// the report folder and nothing else.
package campaign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"restartlab/labctl/internal/capture"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

// Exit codes of labctl.
const (
	OK          = 0   // every expectation held
	Failed      = 1   // an expectation did not hold
	Usage       = 2   // bad usage or a bad scenario
	Impossible  = 3   // the lab could not be set up or do its work here
	Interrupted = 130 // by Ctrl-C or a signal
)

// Item is one scenario to run.
type Item struct {
	*scenario.Scenario
	File     string // as named by the user
	Settings scenario.Settings
}

// Show is told of the events of runs as they come. Its methods are called from
// one goroutine.
type Show interface {
	// Event is an event of the run with that number, from 0.
	Event(run int, e journal.Event)
	// Done is the end of a run. folder is empty when there is no report.
	Done(run int, r *report.Report, folder string, err error)
}

// Options say how to run.
type Options struct {
	// Folder is the report folder, or with several items the folder that
	// holds theirs. Empty: reports/NAME-TIME, and reports/latest points to
	// the newest.
	Folder string
	Jobs   int    // how many run side by side, at least 1
	Labctl string // version of the program
	Author string // who hands the report in
	// Join, if not nil, is what the hosts of the only item are.
	Join *sandbox.Join
	Now  func() time.Time
}

// Run runs the items and returns an exit code: that of the worst.
func Run(ctx context.Context, items []Item, o Options, show Show) int {
	feed := newFeed(show)
	codes := make([]int, len(items))
	names := folderNames(items)
	turn := make(chan struct{}, max(o.Jobs, 1))
	var runs sync.WaitGroup
	for i, item := range items {
		turn <- struct{}{}
		runs.Go(func() {
			defer func() { <-turn }()
			codes[i] = one(ctx, i, item, o, names[i], feed)
		})
	}
	runs.Wait()
	feed.close()
	return worst(codes)
}

// folderNames are the names of the items' folders below Options.Folder, each its
// own; empty for a single item, whose folder that is.
func folderNames(items []Item) []string {
	names := make([]string, len(items))
	if len(items) == 1 {
		return names
	}
	taken := map[string]bool{}
	for i, item := range items {
		names[i] = item.Name
		for n := 2; taken[names[i]]; n++ {
			names[i] = fmt.Sprintf("%s-%d", item.Name, n)
		}
		taken[names[i]] = true
	}
	return names
}

// worst is the exit code of several: an interrupt hides the rest, then what
// could not be done, then what failed.
func worst(codes []int) int {
	rank := map[int]int{OK: 0, Failed: 1, Usage: 2, Impossible: 3, Interrupted: 4}
	code := OK
	for _, c := range codes {
		if rank[c] > rank[code] {
			code = c
		}
	}
	return code
}

// one runs one item to its reports.
func one(ctx context.Context, n int, item Item, o Options, name string, feed *feed) int {
	if ctx.Err() != nil {
		feed.done(n, nil, "", errors.New("not started: interrupted"))
		return Interrupted
	}
	now := o.Now()
	folder, err := newFolder(o, item.Name, name, now)
	if err != nil {
		feed.done(n, nil, "", err)
		return Usage
	}
	file, err := folder.journal()
	if err != nil {
		feed.done(n, nil, "", err)
		return Impossible
	}
	defer file.Close()
	header := journal.Header{Version: journal.Version, Labctl: o.Labctl, Author: o.Author, Started: now.Format(time.RFC3339Nano),
		Machine: machine(), Scenario: journal.Scenario{Name: item.Name, File: item.File, Digest: item.Digest,
			Text: item.Text, Title: item.Title, Lesson: item.Lesson, Set: item.Settings.Set, Command: item.Settings.Command, Joined: o.Join.PIDs()}}
	began := false      // the journal has a header
	var end journal.Lab // how the lab ended, if it did
	runErr := sandbox.RunJoined(ctx, o.Join, scenario.Plan{Labs: item.Labs}, header, file, func(e journal.Event) {
		began = began || e.Header != nil
		if e.LabInfo != nil {
			end = *e.LabInfo
		}
		feed.event(n, e)
	})
	if runErr != nil && !began {
		folder.discard() // there never was a lab, and nothing to report
		feed.done(n, nil, "", runErr)
		return Impossible
	}
	_, err = file.Seek(0, io.SeekStart)
	var r *report.Report
	if err == nil {
		r, err = Render(file, folder.path)
	}
	if err != nil {
		feed.done(n, r, "", errors.Join(runErr, err))
		return Impossible
	}
	folder.newest()
	if runErr == nil && end.Refused {
		runErr = sandbox.RefusedInside(end.Error)
	}
	feed.done(n, r, folder.path, runErr)
	switch {
	case ctx.Err() != nil:
		return Interrupted
	case runErr != nil || r.Verdict == journal.Error || r.Verdict == journal.Incomplete:
		return Impossible
	case r.Verdict == journal.Fail:
		return Failed
	}
	return OK
}

// Read builds the report of the journal in file.
func Read(file io.Reader) (*report.Report, error) {
	_, r, err := read(file)
	return r, err
}

// Render writes the reports of the journal in file into the folder, and the
// segments that it holds as CaptureFile.
func Render(file io.Reader, folder string) (*report.Report, error) {
	events, r, err := read(file)
	if err != nil {
		return nil, err
	}
	return r, errors.Join(report.WriteDir(folder, r), writeCapture(folder, events))
}

// read reads a journal and builds its report.
func read(file io.Reader) ([]journal.Event, *report.Report, error) {
	events, err := journal.ReadAll(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read the journal: %w", err)
	}
	r, err := report.Build(events)
	return events, r, err
}

// writeCapture writes CaptureFile, if segments were recorded; else one that an
// earlier run left in the folder would be taken for this run's.
func writeCapture(folder string, events []journal.Event) error {
	if capture.Recorded(events) {
		return report.WriteFile(folder, CaptureFile, func(w io.Writer) error { return capture.WritePcapng(w, events) })
	}
	if err := os.Remove(filepath.Join(folder, CaptureFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the segments of an earlier run: %w", err)
	}
	return nil
}
