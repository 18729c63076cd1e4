// Package campaign carries scenarios from file to report: it starts an inside
// for each, keeps its journal on disk, shows it, and writes the reports.
//
// It promises that the journal is on disk before anything is shown, that a slow
// terminal never holds up a lab, and that what it makes in the file system is
// the report folder and nothing else.
package campaign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/live"
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
	Guest    *sandbox.Guest // nil: on this machine's own kernel
	Variant  string         // tells it from the same scenario on another kernel
}

// Label is its name among others.
func (i Item) Label() string {
	if i.Variant == "" {
		return i.Name
	}
	return i.Name + "@" + i.Variant
}

// Show is told of the events of runs as they come. Its methods are called from
// one goroutine.
type Show interface {
	// Event is an event of the run with that number, from 0.
	Event(run int, e journal.Event)
	// Done is the end of a run. folder is empty when there is no report.
	Done(run int, d report.Document, folder string, err error)
	// Listed is the end of several runs: their index, empty without one.
	Listed(index string, err error)
}

// Options say how to run.
type Options struct {
	// Folder is the report folder, or with several items the folder that
	// holds theirs and their index. Empty: reports/NAME-TIME or
	// reports/N-scenarios-TIME, and reports/latest points to the newest.
	Folder string
	// Jobs is how many labs may live at once, in all scenarios together; 0
	// leaves it to the machine.
	Jobs int
	// Repeat is how often every lab is played; 0 or 1 is once.
	Repeat int
	Labctl string // version of the program
	Author string // who hands the report in
	// Join, if not nil, is what the hosts of the only item are.
	Join *sandbox.Join
	// Live keeps the only item's hosts up without playing its steps, until ctx ends
	// or somebody says so by the control socket in the report folder.
	Live bool
	// Next, if not nil, holds the only item's lab before each step until one
	// comes.
	Next <-chan struct{}
	// Predictions, if not nil, are what the reader of the only item's run said,
	// asked for when all has been shown up to the lab's end. They become events.
	Predictions func() []journal.Prediction
	Now         func() time.Time
}

// Run runs the items and returns an exit code: that of the worst.
func Run(ctx context.Context, items []Item, o Options, show Show) int {
	feed := newFeed(show)
	ground := findGround(cmp.Or(o.Folder, Reports))
	if len(items) == 1 {
		code, _ := one(ctx, 0, items[0], o, "", ground, feed)
		feed.close()
		return worst([]int{code})
	}
	folder, err := newIndex(o, len(items))
	if err != nil {
		feed.listed("", err)
		feed.close()
		return Usage
	}
	o.Folder = folder.path
	codes := make([]int, len(items))
	runs := make([]report.Listed, len(items))
	names := folderNames(items)
	turn := make(chan struct{}, o.scenarios(items))
	var group sync.WaitGroup
	for i, item := range items {
		turn <- struct{}{}
		group.Go(func() {
			defer func() { <-turn }()
			codes[i], runs[i] = one(ctx, i, item, o, names[i], ground, feed)
		})
	}
	group.Wait()
	index, err := folder.list(runs, ground)
	feed.listed(index, err)
	feed.close()
	if err != nil {
		codes = append(codes, Impossible)
	}
	return worst(codes)
}

// scenarios is how many insides run side by side.
func (o Options) scenarios(items []Item) int {
	const usual = 8
	switch {
	case o.Jobs != 0:
		return o.Jobs
	case slices.ContainsFunc(items, func(i Item) bool { return i.Guest != nil }):
		return min(usual, runtime.NumCPU()) // a guest keeps a core busy
	}
	return usual
}

// labs are the labs to play: those of the item, each as often as asked.
func (o Options) labs(item Item) []scenario.Lab {
	if o.Repeat <= 1 {
		return item.Labs
	}
	var labs []scenario.Lab
	for run := 1; run <= o.Repeat; run++ {
		for _, lab := range item.Labs {
			lab.Run, lab.Name = run, journal.LabName(lab.Name, run)
			labs = append(labs, lab)
		}
	}
	return labs
}

// folderNames are the names of the items' folders below Options.Folder, each its
// own.
func folderNames(items []Item) []string {
	names := make([]string, len(items))
	taken := map[string]bool{}
	for i, item := range items {
		names[i] = item.Label()
		for n := 2; taken[names[i]]; n++ {
			names[i] = fmt.Sprintf("%s-%d", item.Label(), n)
		}
		taken[names[i]] = true
	}
	return names
}

// skipped is the code of a run whose labs this machine could not play, all of
// them. Alone it is Impossible; among others it is no failure.
const skipped = -1

// worst is the exit code of several: an interrupt hides the rest, then what
// could not be done, then what failed.
func worst(codes []int) int {
	if !slices.ContainsFunc(codes, func(c int) bool { return c != skipped }) {
		return Impossible
	}
	rank := map[int]int{skipped: -1, OK: 0, Failed: 1, Usage: 2, Impossible: 3, Interrupted: 4}
	code := OK
	for _, c := range codes {
		if rank[c] > rank[code] {
			code = c
		}
	}
	return code
}

// one runs one item to its reports. name is that of its folder below
// Options.Folder, empty for a single item, whose folder that is.
func one(ctx context.Context, n int, item Item, o Options, name string, ground ground, feed *feed) (code int, listed report.Listed) {
	listed.Name = cmp.Or(name, item.Name)
	done := func(d report.Document, folder string, err error) {
		listed.Run, listed.Err = d, err
		if d != nil && folder != "" {
			listed.Page = name + "/" + report.PageFile
		}
		feed.done(n, d, folder, err)
	}
	if ctx.Err() != nil {
		done(nil, "", errors.New("not started: interrupted"))
		return Interrupted, listed
	}
	now := o.Now()
	folder, err := newFolder(o, item.Name, name, now)
	if err != nil {
		done(nil, "", err)
		return Usage, listed
	}
	file, err := folder.journal()
	if err != nil {
		done(nil, "", err)
		return Impossible, listed
	}
	defer file.Close()
	header := journal.Header{Version: journal.Version, Labctl: o.Labctl, Author: o.Author, Started: now.Format(time.RFC3339Nano),
		Machine: machine(), Scenario: journal.Scenario{Name: item.Name, File: item.File, Digest: item.Digest,
			Text: item.Text, Title: item.Title, Lesson: item.Lesson, Set: item.Settings.Set, Axes: item.Axes, Command: item.Settings.Command, Joined: o.Join.PIDs()}}
	with := sandbox.With{Join: o.Join, Next: o.Next}
	labs := o.labs(item)
	if o.Live {
		if with.Door, err = live.MakeDoor(folder.path); err != nil {
			done(nil, "", err)
			return Impossible, listed
		}
		defer os.Remove(filepath.Join(folder.path, live.SocketName))
		defer with.Door.Close()
		header.Scenario.Live = true
		labs = unplayed(labs)
	}
	began := false // the journal has a header
	var last journal.Event
	var refused string // what the machine refused to a lab
	see := func(e journal.Event) {
		began = began || e.Header != nil
		if e.LabInfo != nil && e.LabInfo.Refused {
			refused = e.LabInfo.Error
		}
		last = e
		feed.event(n, e)
	}
	var runErr error
	if plan := (scenario.Plan{Labs: labs, Jobs: o.Jobs}); item.Guest != nil {
		runErr = sandbox.RunIn(ctx, item.Guest, plan, header, file, see)
	} else {
		runErr = sandbox.RunWith(ctx, with, plan, header, file, see)
	}
	if runErr != nil && !began {
		folder.discard() // there never was a lab, and nothing to report
		done(nil, "", runErr)
		return Impossible, listed
	}
	if o.Predictions != nil {
		feed.flush()
		err = writePredictions(file, last, o.Predictions())
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	var d report.Document
	if err == nil {
		d, err = Render(file, folder.path)
	}
	if err != nil {
		done(d, "", errors.Join(runErr, err, ground.give(folder)))
		return Impossible, listed
	}
	folder.newest()
	given := ground.give(folder)
	if runErr == nil && refused != "" {
		runErr = sandbox.RefusedInside(refused)
	}
	done(d, folder.path, errors.Join(runErr, given))
	switch verdict := d.Outcome(); {
	case ctx.Err() != nil && !o.Live: // that is how such a lab ends
		return Interrupted, listed
	case runErr != nil:
		return Impossible, listed
	case verdict == journal.Fail:
		return Failed, listed
	case verdict == journal.Skipped:
		return skipped, listed
	case verdict != journal.Pass:
		return Impossible, listed
	}
	return OK, listed
}

// unplayed are the labs without their steps.
func unplayed(labs []scenario.Lab) []scenario.Lab {
	labs = slices.Clone(labs)
	for i := range labs {
		labs[i].Steps = nil
	}
	return labs
}

// writePredictions adds what the reader said to the journal, behind its last
// event. They have that event's time: when they were made is the reader's own.
func writePredictions(journalFile io.Writer, last journal.Event, all []journal.Prediction) error {
	w := journal.NewWriter(journalFile, last.N+1)
	for _, p := range all {
		w.Write(journal.Event{T: last.T, Lab: last.Lab, Step: p.Index, Kind: journal.KindPrediction, Prediction: &p})
	}
	if err := w.Err(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}
