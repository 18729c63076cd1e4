package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"

	"restartlab/labctl/internal/journal"
)

//go:embed index.html
var indexText string

//go:embed index.css
var indexStyle string

// Listed is one of several runs.
type Listed struct {
	Name string
	Run  Document // nil without a report
	Page string   // of the report, relative to the index; empty without one
	Err  error    // why the run, or its report, is not what was asked for
}

// indexPage is what index.html shows; every text in it has gone through clean.
type indexPage struct {
	Style               template.CSS
	Generator           string
	Verdict, Mark, Head string
	Runs                []indexRow
}

type indexRow struct{ Verdict, Mark, Name, Title, Said, Page string }

// generator marks an index as one of labctl's own.
const generator = "labctl index"

// Index writes a page that lists several runs with their verdicts, and leads to
// their reports.
func Index(w io.Writer, runs []Listed) error {
	t, err := template.New("index").Parse(indexText)
	if err != nil {
		return err
	}
	p := indexPage{Style: template.CSS(pageStyle + indexStyle), Generator: generator}
	worst, count := journal.Pass, map[journal.Verdict]int{}
	for _, run := range runs {
		row := indexRow{Name: clean(run.Name), Page: run.Page}
		verdict := journal.Error
		if run.Run != nil {
			verdict = run.Run.Outcome()
			row.Title, row.Said = clean(run.Run.title()), clean(run.Run.headline())
			if r, ok := run.Run.(*Report); ok && verdict == journal.Fail {
				if s := r.decisive(); s != nil && s.why() != "" {
					row.Said += ": " + short(s.why())
				}
			}
		}
		if run.Err != nil {
			first, _, _ := strings.Cut(run.Err.Error(), "\n")
			row.Said = strings.TrimSuffix(clean(first)+"; "+row.Said, "; ")
		}
		row.Verdict, row.Mark = string(verdict), sign(verdict)
		count[verdict]++
		p.Runs = append(p.Runs, row)
	}
	for _, v := range []journal.Verdict{journal.Error, journal.Incomplete, journal.Fail} {
		if worst == journal.Pass && count[v] > 0 {
			worst = v
		}
	}
	p.Verdict, p.Mark = string(worst), sign(worst)
	p.Head = fmt.Sprintf("%d of %d scenarios passed", count[journal.Pass], len(runs))
	if n := count[journal.Skipped]; n > 0 {
		p.Head += fmt.Sprintf(", %d skipped", n)
	}
	return t.Execute(w, p)
}

// IsIndex reports whether a file is an index that labctl wrote.
func IsIndex(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 1024))
	return err == nil && bytes.Contains(head, []byte(`content="`+generator+`"`))
}
