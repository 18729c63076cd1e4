package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"restartlab/labctl/internal/study"
)

// PageFile is the name of the page for people in a report folder.
const PageFile = "report.html"

// TableFile is the name of the table of answers in a report folder.
const TableFile = "results.csv"

// WriteDir writes report.json, report.md, report.html, junit.xml and results.csv
// into a folder that exists; of a study results.json in place of report.json.
// Each appears whole or not at all.
func WriteDir(dir string, run Document, table *study.Table) error {
	data := "report.json"
	if _, ok := run.(*Study); ok {
		data = "results.json"
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{TableFile, table.CSV},
		{data, func(w io.Writer) error { return JSON(w, run) }},
		{"report.md", func(w io.Writer) error { return Markdown(w, run) }},
		{PageFile, func(w io.Writer) error { return HTML(w, run) }},
		{"junit.xml", func(w io.Writer) error { return JUnit(w, run) }},
	} {
		if err := WriteFile(dir, f.name, f.write); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes one file into a folder that exists. It appears whole or not
// at all.
func WriteFile(dir, name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	path := filepath.Join(dir, name)
	if err := replace(path, b.Bytes()); err != nil {
		if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
			err = inner.Err // not the temporary name
		}
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// replace writes a file under a name of its own first, then gives it its own
// name, so that a reader, or a kill at any moment, finds the old or the new.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // when it is not renamed
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
