package report

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIndex lists runs that passed, failed and never were, escaped and in order.
func TestIndex(t *testing.T) {
	var b bytes.Buffer
	err := Index(&b, []Listed{
		{Name: "timewait", Run: build(t, "timewait"), Page: "timewait/report.html"},
		{Name: "failed", Run: build(t, "failed"), Page: "failed/report.html"},
		{Name: "hostile", Run: build(t, "hostile"), Page: "hostile/report.html"},
		{Name: "<b>", Err: errors.New("use <b> as report folder: another run writes there now\nand more")},
	})
	if err != nil {
		t.Fatal(err)
	}
	page := b.String()
	last := 0
	for _, want := range []string{
		`<p class="verdict error"><strong><span aria-hidden="true">!</span> error</strong> <span>1 of 4 scenarios passed</span></p>`,
		`<tr class="pass"><td class="status"><span aria-hidden="true">✓</span> pass</td><th scope="row"><a href="timewait/report.html">timewait</a></th><td>Why can the server not restart for a minute?</td><td class="said">every expectation held: 7 steps in 61.388 s</td></tr>`,
		`<tr class="fail"><td class="status"><span aria-hidden="true">✗</span> fail</td><th scope="row"><a href="failed/report.html">failed</a></th>`,
		`<th scope="row"><a href="hostile/report.html">hostile</a></th><td>&lt;/pre&gt;`,
		`<tr class="error"><td class="status"><span aria-hidden="true">!</span> error</td><th scope="row">&lt;b&gt;</th><td></td><td class="said">use &lt;b&gt; as report folder: another run writes there now</td></tr>`,
	} {
		at := strings.Index(page, want)
		if at < last {
			t.Errorf("%d: not there, or not after the one before: %s", at, want)
		}
		last = max(last, at)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "and more") {
		t.Error("what a program wrote stands there as it is, or an error has more than its first line")
	}
	if t.Failed() {
		t.Log(page[strings.Index(page, "<body>"):])
	}
	dir := t.TempDir()
	ours, other := filepath.Join(dir, "index.html"), filepath.Join(dir, "other.html")
	if err := errors.Join(os.WriteFile(ours, b.Bytes(), 0o600), os.WriteFile(other, []byte("<!doctype html><title>my page</title>"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if !IsIndex(ours) || IsIndex(other) || IsIndex(filepath.Join(dir, "none")) {
		t.Error("an index of labctl is not told from another page")
	}
}
