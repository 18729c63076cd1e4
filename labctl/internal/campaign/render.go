package campaign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"restartlab/labctl/internal/capture"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/study"
)

// CellsFolder holds the pages of a study's cells, in its report folder.
const CellsFolder = "cells"

// How many labs get a page of their own when a study is rendered: in all, and of those
// that repeat one that passed, and passed too. The others' are a labctl report away.
const (
	mostPages   = 400
	mostRepeats = 40
)

// Read makes the document of the journal in file: a *report.Report of its one
// lab, or a *report.Study of its many.
func Read(file io.Reader) (report.Document, error) {
	b, err := journal.ReadBook(file)
	if b == nil {
		return nil, readError(err)
	}
	doc, _, docErr := document(b)
	return doc, errors.Join(readError(err), docErr)
}

// ReadCell makes the report of one lab of the journal in file, by its name.
func ReadCell(file io.Reader, lab string) (*report.Report, error) {
	b, err := journal.ReadBook(file)
	if b == nil {
		return nil, readError(err)
	}
	if !slices.Contains(b.Labs, lab) {
		return nil, fmt.Errorf("the journal has no lab %q; it has %s", lab, some(slices.Sorted(slices.Values(b.Labs))))
	}
	r, buildErr := cell(b, lab)
	return r, errors.Join(readError(err), buildErr)
}

// ReadTable makes the table of answers of the journal in file.
func ReadTable(file io.Reader) (*study.Table, error) {
	b, err := journal.ReadBook(file)
	if b == nil {
		return nil, readError(err)
	}
	t, tableErr := table(b)
	return t, errors.Join(readError(err), tableErr)
}

func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func readError(err error) error {
	if err == nil || errors.Is(err, journal.ErrNotJournal) {
		return err
	}
	return fmt.Errorf("read the journal: %w", err)
}

func cell(b *journal.Book, lab string) (*report.Report, error) {
	events, err := b.Events(lab)
	if err != nil {
		return nil, err
	}
	return report.Build(events)
}

// document is what the journal comes to. The events are those of its one lab;
// none of a study.
func document(b *journal.Book) (report.Document, []journal.Event, error) {
	if studied(b) {
		t, err := table(b)
		return &report.Study{Table: t}, nil, err
	}
	lab := ""
	if len(b.Labs) > 0 {
		lab = b.Labs[0]
	}
	events, err := b.Events(lab)
	if err != nil {
		return nil, nil, err
	}
	r, err := report.Build(events)
	return r, events, err
}

// studied reports whether the journal is that of a study.
func studied(b *journal.Book) bool {
	return len(b.Labs) > 1 || len(b.Header.Header.Scenario.Axes) > 0
}

func table(b *journal.Book) (*study.Table, error) {
	c := study.NewCollector()
	err := b.Brief(c.Add)
	return c.Table(), err
}

// Render writes the reports of the journal in file into the folder: of a study
// pages of its cells too, of a single lab the segments as CaptureFile.
func Render(file io.Reader, folder string) (report.Document, error) {
	b, err := journal.ReadBook(file)
	if b == nil {
		return nil, readError(err)
	}
	doc, events, docErr := document(b)
	if doc == nil {
		return nil, errors.Join(readError(err), docErr)
	}
	err = errors.Join(readError(err), docErr)
	t, tableErr := table(b)
	if s, ok := doc.(*report.Study); ok {
		err = errors.Join(err, writeCells(folder, s, b))
	} else {
		err = errors.Join(err, tableErr, writeCapture(folder, events))
	}
	return doc, errors.Join(report.WriteDir(folder, doc, t), err)
}

// writeCells writes pages of the study's cells, those that did not pass first,
// and tells the study where they are.
func writeCells(folder string, s *report.Study, b *journal.Book) error {
	dir := filepath.Join(folder, CellsFolder)
	if err := os.RemoveAll(dir); err != nil { // an earlier run's
		return fmt.Errorf("remove the cells of an earlier run: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make the folder of cells: %w", err)
	}
	s.Pages = map[string]string{}
	taken := map[string]bool{}
	for _, lab := range telling(s) {
		name := fileName(lab, taken)
		r, err := cell(b, lab)
		if err != nil {
			return fmt.Errorf("report %s: %w", lab, err)
		}
		if err := report.WriteFile(dir, name, func(w io.Writer) error { return report.HTML(w, r) }); err != nil {
			return err
		}
		s.Pages[lab] = CellsFolder + "/" + name
	}
	return nil
}

// telling are the labs that get pages, as many as may: those that did not pass
// first, then one run of each cell, then the rest.
func telling(s *report.Study) []string {
	var bad, first, again []string
	for i := range s.Rows {
		r := &s.Rows[i]
		_, lab := r.Lab()
		switch {
		case r.Verdict != journal.Pass && r.Verdict != journal.Skipped:
			bad = append(bad, lab)
		case r.Run <= 1:
			first = append(first, lab)
		case len(again) < mostRepeats:
			again = append(again, lab)
		}
	}
	labs := slices.Concat(bad, first, again)
	return labs[:min(len(labs), mostPages)]
}

// fileName is the name of a lab's page: the lab's, with what may not stand in a
// file's name replaced.
func fileName(lab string, taken map[string]bool) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("-_.+=", c):
			return c
		case c == ' ':
			return '-'
		case c == '#':
			return -1
		}
		return '_'
	}, lab)
	const longest = 120
	if len(name) > longest {
		name = name[:longest]
	}
	name = strings.TrimLeft(name, ".")
	unique := name
	for n := 2; taken[unique]; n++ {
		unique = fmt.Sprintf("%s_%d", name, n)
	}
	taken[unique] = true
	return unique + ".html"
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
