package view

import (
	"os"
	"strings"

	"golang.org/x/term"
)

// Terminal finds out what f can show. What is no terminal gets neither colour
// nor animation nor a width. NO_COLOR (no-color.org) and TERM=dumb take the
// colour away, CLICOLOR_FORCE gives it to a pipe too; the locale (LC_ALL, else
// LC_CTYPE, else LANG) tells whether more than ASCII can be shown, and the
// language.
func Terminal(f *os.File) Options {
	fd := int(f.Fd())
	terminal := term.IsTerminal(fd)
	o := environment(os.Getenv, terminal)
	if !terminal {
		return o
	}
	o.columns = func() int {
		n, _, err := term.GetSize(fd)
		if err != nil {
			return 0
		}
		return n
	}
	o.lines = func() int {
		_, n, err := term.GetSize(fd)
		if err != nil {
			return 0
		}
		return n
	}
	if o.Width = o.columns(); o.Width <= 0 { // it does not know, as a serial line does not
		o.Width = 80
	}
	return o
}

// environment is what the variables alone decide.
func environment(get func(string) string, terminal bool) Options {
	dumb := get("TERM") == "" && get("COLORTERM") == "" || get("TERM") == "dumb"
	forced := get("CLICOLOR_FORCE") != "" && get("CLICOLOR_FORCE") != "0"
	locale := get("LC_ALL")
	for _, name := range []string{"LC_CTYPE", "LANG"} {
		if locale == "" {
			locale = get(name)
		}
	}
	upper := strings.ToUpper(locale)
	return Options{
		Color:   get("NO_COLOR") == "" && (terminal && !dumb || forced),
		Animate: terminal && !dumb,
		ASCII:   !strings.Contains(upper, "UTF-8") && !strings.Contains(upper, "UTF8"),
		Chinese: strings.HasPrefix(locale, "zh"),
	}
}
