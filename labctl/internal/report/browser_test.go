package report

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

//go:embed testdata/layout.js
var layoutScript string

// recorded are runs as they were recorded, of which the browser tests draw pages, and
// the made-up one that tries a page most.
var recorded = []string{"recorded/timewait", "recorded/surviving-child", "recorded/one-host", "recorded/restart", "hostile"}

// browser is a Chromium with one page. It keeps what it writes in folders of the test,
// and ends with it.
type browser struct {
	*testing.T
	ctx context.Context
	*faults
}

// faults are what the page loaded from elsewhere, and its errors.
type faults struct {
	lock sync.Mutex
	all  []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" && os.Getenv("CI") != "" {
		t.Fatal("no Chromium here to look at the page with, and CI must have one")
	}
	if path == "" {
		t.Skip("no Chromium here to look at the page with; Debian: apt-get install chromium")
	}
	home := t.TempDir()
	opts := append(append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(filepath.Join(home, "profile")), chromedp.Env("HOME="+home, "TMPDIR="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-crash-reporter", true), chromedp.Flag("no-proxy-server", true))
	ctx, endBrowser := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, endPage := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("end the browser: %v", err)
		}
		endPage()
		endBrowser()
	})
	b := &browser{t, ctx, &faults{}}
	if err := chromedp.Listen(ctx, b.faults.event); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return b
}

// event takes down what a report must not do.
func (f *faults) event(e any) {
	f.lock.Lock()
	defer f.lock.Unlock()
	switch e := e.(type) {
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, "file:") {
			f.all = append(f.all, "it loads "+e.Request.URL)
		}
	case *runtime.EventExceptionThrown:
		f.all = append(f.all, "its script fails: "+e.ExceptionDetails.Text)
	}
}

// do runs actions within a deadline.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// eval is the value of an expression in the page.
func eval[T any](b *browser, expression string) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to become true.
func (b *browser) until(expression string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression)); err != nil {
		b.Fatalf("%s does not become true: %v", expression, err)
	}
}

// open shows the page of a journal on a screen.
func (b *browser) open(name string, width, height int64, script bool) {
	b.Helper()
	var html bytes.Buffer
	if err := HTML(&html, build(b.T, name)); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(b.TempDir(), "report.html")
	if err := os.WriteFile(file, html.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script}); err != nil {
		b.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(width, height), chromedp.Navigate("file://"+file))
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, fault := range b.all {
		b.Errorf("%s: %s", name, fault)
	}
	b.all = nil
}

// sub is the same browser for a part of a test.
func (b *browser) sub(name string, f func(*browser)) {
	b.Run(name, func(t *testing.T) { f(&browser{t, b.ctx, b.faults}) })
}

// laidOut wants every label of the ladder readable, and returns how many there are.
func (b *browser) laidOut() int {
	b.Helper()
	got := eval[struct {
		Texts    int
		Smallest float64
		Wrong    []string
	}](b, "("+layoutScript[strings.Index(layoutScript, "() =>"):]+")()")
	for _, w := range got.Wrong[:min(len(got.Wrong), 12)] {
		b.Error(w)
	}
	if len(got.Wrong) > 12 {
		b.Errorf("and %d more", len(got.Wrong)-12)
	}
	if got.Texts < 20 {
		b.Errorf("the ladder shows %d labels", got.Texts)
	}
	if got.Smallest < 8 {
		b.Errorf("the smallest label is %.1f pixels high", got.Smallest)
	}
	return got.Texts
}

// screens are those of a wall and of a phone.
var screens = []struct {
	width, height int64
	view          string // the ladder shown there
}{{1280, 900, "ladder"}, {390, 844, "narrow"}}

// TestBrowser looks at pages in one Chromium.
func TestBrowser(t *testing.T) {
	b := newBrowser(t)
	b.sub("layout", browseLayout)
	b.sub("plain", browsePlain)
	b.sub("use", browseUse)
	b.sub("print", browsePrint)
}

// browseLayout measures every label.
func browseLayout(b *browser) {
	for _, name := range recorded {
		for _, s := range screens {
			b.sub(fmt.Sprintf("%s at %d", name, s.width), func(b *browser) {
				b.open(name, s.width, s.height, true)
				b.laidOut()
			})
		}
	}
}

// browsePlain has no script: the page shows the same picture.
func browsePlain(b *browser) {
	for _, s := range screens {
		b.open("recorded/timewait", s.width, s.height, true)
		with := b.laidOut()
		b.open("recorded/timewait", s.width, s.height, false)
		if without := b.laidOut(); without != with {
			b.Errorf("at %d: %d labels with the script, %d without", s.width, with, without)
		}
		if eval[bool](b, `document.querySelector(".lad-tools").clientHeight > 0`) {
			b.Errorf("at %d: tools that need the script are shown without it", s.width)
		}
	}
}

// browseUse clicks, points and types as a reader does.
func browseUse(b *browser) {
	for _, s := range screens {
		b.sub(fmt.Sprint(s.width), func(b *browser) {
			b.open("recorded/timewait", s.width, s.height, true)
			frame := map[string]string{"ladder": ".broad", "narrow": ".slim"}[s.view]
			scroll := fmt.Sprintf(`document.querySelector(".lad-scroll%s")`, frame)
			visible := func(selector string) string {
				return fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return r.height > 0 && r.top >= -1 && r.top < innerHeight && r.left >= 0 && r.right <= innerWidth })()`, selector)
			}

			// A step's title leads to the step, and the step back to the ladder.
			b.do(chromedp.Click(chromedp.CSS(fmt.Sprintf("#%s-step-5 a text", s.view))))
			b.until(visible("#step-5 header"))
			b.do(chromedp.Click(chromedp.CSS("#step-5 a" + frame)))
			b.until(visible("#" + s.view + "-step-5"))

			// The filter leaves one socket's labels bright.
			dim := scroll + `.querySelectorAll(".r.dim").length`
			bright := scroll + `.querySelectorAll(".r:not(.dim)").length`
			choose := `(() => { const s = document.querySelector(".lad-tools select"); s.value = [...s.options].find(o => o.text.startsWith("s3 ")).value; s.dispatchEvent(new Event("change")) })()`
			eval[any](b, choose)
			if n, m := eval[int](b, dim), eval[int](b, bright); n < 10 || m < 10 {
				b.Errorf("the filter leaves %d of %d rows", m, n+m)
			}
			if eval[bool](b, scroll+`.querySelector(".r.bad[data-s]").classList.contains("dim")`) {
				b.Error("the refused bind is dimmed although it is the socket's that holds the port")
			}
			b.do(chromedp.Focus(chromedp.CSS(".lad-scroll"+frame)), chromedp.KeyEvent(kb.Escape))
			b.until(dim + " === 0")
			eval[any](b, scroll+`.querySelector('.bars [data-s="0"] rect').dispatchEvent(new MouseEvent("click", {bubbles: true}))`)
			if eval[int](b, dim) == 0 || eval[string](b, `document.querySelector(".lad-tools select").value`) != "0" {
				b.Error("a click on a bar does not filter")
			}
			eval[any](b, scroll+`.querySelector('.bars [data-s="0"] rect').dispatchEvent(new MouseEvent("click", {bubbles: true}))`)
			b.until(dim + " === 0")

			// Zoom.
			wide := scroll + `.querySelector("svg.ladder").getBoundingClientRect().width`
			before := eval[float64](b, wide)
			b.do(chromedp.Click(chromedp.CSS(`.lad-tools button[title="Zoom in"]`)))
			if after := eval[float64](b, wide); after < before*1.2 {
				b.Errorf("zoomed in, the ladder is %.0f pixels wide after %.0f", after, before)
			}
			b.do(chromedp.Click(chromedp.CSS(`.lad-tools button[title="Fit the width"]`)))
			if after := eval[float64](b, wide); after != before {
				b.Errorf("fitted, the ladder is %.0f pixels wide after %.0f", after, before)
			}

			// The keys go from row to row; the details are the row's.
			b.do(chromedp.Focus(chromedp.CSS(".lad-scroll"+frame)), chromedp.KeyEvent(strings.Repeat(kb.ArrowDown, 7)))
			at := scroll + `.querySelector(".r.on")`
			if !eval[bool](b, at+`.dataset.n === `+scroll+`.querySelectorAll(".r")[6].dataset.n`) {
				b.Error("seven times down is not the seventh row")
			}
			details := `document.querySelector(".lad-detail").textContent`
			if text := eval[string](b, details); text == "" || text != eval[string](b, at+`.querySelector("title").textContent`) {
				b.Errorf("the row's details are %q", text)
			}
			b.until(visible(".lad-scroll" + frame + " .r.on"))

			// The pointer shows them too.
			refused := scroll + `.querySelector(".r.call.bad")`
			eval[any](b, refused+`.scrollIntoView({block: "center"})`)
			spot := eval[[]float64](b, `(() => { const r = `+refused+`.querySelector("text:last-of-type").getBoundingClientRect(); return [r.x + 5, r.y + 5] })()`)
			b.do(chromedp.MouseEvent("mouseMoved", spot[0], spot[1]))
			b.until(details + `.includes("EADDRINUSE")`)
			if text := eval[string](b, details); !strings.Contains(text, "held by TIME_WAIT") {
				b.Errorf("the refused bind's details do not say who holds the port: %q", text)
			}
		})
	}
}

// mediaBox is the size of a page in a PDF.
var mediaBox = regexp.MustCompile(`/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]`)

// browsePrint prints a run: the ladder lies across pages of its own, and no page
// ends within one of its sheets.
func browsePrint(b *browser) {
	b.open("recorded/restart", 1280, 900, true)
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	pdf, err := chromedp.Run(ctx, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4)))
	if err != nil {
		b.Fatal(err)
	}
	across, upright := 0, 0
	for _, m := range mediaBox.FindAllSubmatch(pdf, -1) {
		w, _ := strconv.ParseFloat(string(m[1]), 64)
		h, _ := strconv.ParseFloat(string(m[2]), 64)
		if w > h {
			across++
		} else {
			upright++
		}
	}
	sheets := eval[int](b, `document.querySelectorAll(".broad .sheet").length`)
	if sheets < 2 || across < 1 || across > sheets+1 || upright == 0 {
		b.Errorf("%d sheets of the ladder on %d pages across, beside %d upright ones", sheets, across, upright)
	}
	// A landscape page of A4 and of Letter, without the margins.
	for _, paper := range []struct {
		name          string
		width, height int64
	}{{"A4", 1047, 718}, {"Letter", 980, 740}} {
		b.do(chromedp.EmulateViewport(paper.width, paper.height))
		if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print",
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}); err != nil {
			b.Fatal(err)
		}
		type look struct {
			Highest float64
			Break   string
			Paper   string
			Seen    int
		}
		got := eval[look](b, `(() => { const all = [...document.querySelectorAll(".broad .sheet")]; return {
			highest: Math.max(...all.map(s => s.getBoundingClientRect().height)), break: getComputedStyle(all[0]).breakInside,
			paper: getComputedStyle(document.querySelector(".broad rect.paper")).fill, seen: [...document.querySelectorAll(".slim, .lad-tools")].filter(e => e.clientHeight > 0).length} })()`)
		if got.Highest > float64(paper.height) || got.Break != "avoid" {
			b.Errorf("%s: a sheet of %.0f pixels on a page of %d, break-inside: %s", paper.name, got.Highest, paper.height, got.Break)
		}
		if got.Paper != "rgb(255, 255, 255)" || got.Seen != 0 {
			b.Errorf("%s: printed on %s from a dark screen, with %d things that are for screens", paper.name, got.Paper, got.Seen)
		}
	}
}
