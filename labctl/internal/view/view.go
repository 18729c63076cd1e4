// Package view shows a run in the terminal while it happens.
package view

import (
	"io"
	"os"
	"time"

	"restartlab/labctl/internal/journal"
)

type Options struct {
	Width   int
	Color   bool
	Animate bool
	ASCII   bool
	Verbose bool
	Now     func() time.Time
}

type View struct{}

func New(w io.Writer, o Options) *View { return &View{} }
func (v *View) Add(e journal.Event)    {}
func (v *View) Close() error           { return nil }
func (v *View) Done(reportPath string) {}
func Terminal(f *os.File) Options      { return Options{} }

type Many struct{}

func NewMany(w io.Writer, o Options) *Many          { return &Many{} }
func (m *Many) AddFrom(run string, e journal.Event) {}
func (m *Many) Add(e journal.Event)                 {}
func (m *Many) Fail(run, why string)                {}
func (m *Many) Close() error                        { return nil }
func (m *Many) Done(reportPath string)              {}

type Row struct{ Name, Text string }
type Check struct {
	Name string
	OK   bool
	Why  string
}

func List(w io.Writer, o Options, rows []Row)     {}
func Checks(w io.Writer, o Options, rows []Check) {}
