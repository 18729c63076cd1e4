package scenario

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"

	"restartlab/labctl/internal/journal"
)

// place is where a form or value stands in the file. It is embedded in each.
type place struct {
	key  *yaml.Node // nil in a list
	node *yaml.Node
	bad  bool // a problem was told; whatever it holds is not to be relied on
}

type placed interface {
	put(key, node *yaml.Node)
	spot() *place
}

func (p *place) put(key, node *yaml.Node) { p.key, p.node = key, node }
func (p *place) spot() *place             { return p }

// A list is a YAML sequence.
type list[T any] struct {
	place
	Items []*T
}

func (l *list[T]) decode(d *decoder, n *yaml.Node, r rules) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(l, n, "expected a list, found %s", found(n))
		return
	}
	for _, item := range n.Content {
		v := new(T)
		d.into(v, nil, item, r)
		l.Items = append(l.Items, v)
	}
	switch count := int64(len(l.Items)); {
	case r.minItems != nil && count < *r.minItems:
		d.wrong(l, n, "the list is empty; it needs at least %d", *r.minItems)
	case r.maxItems != nil && count > *r.maxItems:
		d.wrong(l, n, "the list has %d values; at most %d are possible", count, *r.maxItems)
	}
}

// A dict is a YAML mapping whose keys are the user's own, in the order written.
type dict[T any] struct {
	place
	Entries []entry[T]
}

type entry[T any] struct {
	Key   string
	Value *T
	at    *yaml.Node // the key
}

func (m *dict[T]) decode(d *decoder, n *yaml.Node, r rules) {
	if n.Kind != yaml.MappingNode {
		d.wrong(m, n, "expected a mapping, found %s", found(n)+emptyHint(n))
		return
	}
	for key, item := range d.pairs(m, n.Content) {
		v := new(T)
		d.into(v, key, item, r)
		m.Entries = append(m.Entries, entry[T]{key.Value, v, key})
	}
}

func emptyHint(n *yaml.Node) string {
	if n.Tag == "!!null" {
		return "; an empty mapping is written {}"
	}
	return ""
}

// str is a text.
type str struct {
	place
	V string
}

func (s *str) decode(d *decoder, n *yaml.Node, r rules) {
	switch {
	case n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool" || n.Tag == "!!timestamp") && r.enum == nil:
		d.wrong(s, n, "expected a text, found %s; quote it: %q", found(n), n.Value)
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		d.wrong(s, n, "expected %s, found %s", expected("a text", r.enum), found(n))
	case strings.ContainsRune(n.Value, 0):
		d.wrong(s, n, "a text cannot hold the character NUL")
	case r.enum != nil:
		d.among(s, n, r.enum, "value")
	}
	s.V = n.Value
}

func expected(what string, enum []string) string {
	if enum != nil {
		return oneOf(enum)
	}
	return what
}

// among checks a word against the words that are possible.
func (d *decoder) among(p placed, n *yaml.Node, words []string, what string) {
	if !slices.Contains(words, n.Value) {
		d.wrong(p, n, "unknown %s %s%s", what, shortly(n.Value), rather(n.Value, words))
	}
}

// name is a word that other places of the file refer to.
type name struct {
	place
	V string
}

// namePattern is what a name looks like; no name holds a space, so that the
// ids made of several words stay apart.
const namePattern = "^[a-z][a-z0-9-]*$"

var namePatternCompiled = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(namePattern) })

const nameRule = "a name has small letters, digits and hyphens, and begins with a letter"

func (s *name) decode(d *decoder, n *yaml.Node, _ rules) {
	switch {
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		d.wrong(s, n, "expected a name, found %s", found(n))
	case !namePatternCompiled().MatchString(n.Value):
		d.wrong(s, n, "%s is not a name: %s", shortly(n.Value), nameRule)
	}
	s.V = n.Value
}

// scalar is a text, a number or a boolean, taken as it is written: argv and
// lines need no quotes.
type scalar struct {
	place
	V string
}

func (s *scalar) decode(d *decoder, n *yaml.Node, _ rules) {
	switch {
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		d.wrong(s, n, "expected a text or a number, found %s", found(n))
	case strings.ContainsRune(n.Value, 0):
		d.wrong(s, n, "a text cannot hold the character NUL")
	}
	s.V = n.Value
}

// boolean is true or false. The yes and no of older YAML are texts.
type boolean struct {
	place
	V bool
}

func (b *boolean) decode(d *decoder, n *yaml.Node, _ rules) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!bool":
		b.V = strings.EqualFold(n.Value, "true")
	case slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(n.Value)):
		d.wrong(b, n, "expected true or false, found %s; did you mean true?", found(n))
	case slices.Contains([]string{"false", "no", "off", "0"}, strings.ToLower(n.Value)):
		d.wrong(b, n, "expected true or false, found %s; did you mean false?", found(n))
	default:
		d.wrong(b, n, "expected true or false, found %s", found(n))
	}
}

// integer is a whole number within its field's bounds.
type integer struct {
	place
	V int64
}

func (i *integer) decode(d *decoder, n *yaml.Node, r rules) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" {
		d.wrong(i, n, "expected %s, found %s", r.number(), found(n))
		return
	}
	v, err := strconv.ParseInt(n.Value, 0, 64)
	if err != nil || r.min != nil && v < *r.min || r.max != nil && v > *r.max {
		d.wrong(i, n, "expected %s, found %s", r.number(), found(n))
		return
	}
	i.V = v
}

func (r rules) number() string {
	switch {
	case r.min == nil || r.max == nil:
		return "a whole number"
	case *r.max == maxAmount:
		return "a whole number, " + number(*r.min) + " or more"
	}
	return "a whole number from " + number(*r.min) + " to " + number(*r.max)
}

// duration is a time with its unit.
type duration struct {
	place
	V time.Duration
}

// maxDuration is the longest time that makes sense in a lab.
const maxDuration = 24 * time.Hour

// durationPattern is the part of time.ParseDuration's language that has no
// sign.
const durationPattern = `^([0-9]+(\.[0-9]+)?(h|m|s|ms|us|µs|ns))+$`

var durationPatternCompiled = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(durationPattern) })

func (t *duration) decode(d *decoder, n *yaml.Node, _ rules) {
	text := n.Value
	switch {
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!bool":
		d.wrong(t, n, "expected a duration such as 70s, found %s", found(n))
		return
	case durationPatternCompiled().MatchString(text):
	case durationPatternCompiled().MatchString(text + "s"):
		d.wrong(t, n, "a duration needs a unit: %ss?", text)
		return
	default:
		d.wrong(t, n, "%s is not a duration; expected numbers with units, such as 500ms, 70s or 1m30s", shortly(text))
		return
	}
	v, err := time.ParseDuration(text)
	if err != nil || v > maxDuration {
		d.wrong(t, n, "%s is too long; a duration is at most 24h", shortly(text))
		return
	}
	t.V = v
}

// outcome is ok or the name of an errno.
type outcome struct {
	place
	V string
}

func (o *outcome) decode(d *decoder, n *yaml.Node, _ rules) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.wrong(o, n, "expected ok or an errno's name such as EADDRINUSE, found %s", found(n))
		return
	}
	if o.V = n.Value; slices.Contains(outcomes, o.V) {
		return
	}
	if _, near := nearest(n.Value, outcomes); !near {
		d.wrong(o, n, "unknown outcome %s; expected ok or an errno's name such as EADDRINUSE", shortly(n.Value))
		return
	}
	d.among(o, n, outcomes, "outcome")
}

// signalName is the name of a signal.
type signalName struct {
	place
	V string
}

func (s *signalName) decode(d *decoder, n *yaml.Node, _ rules) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!int" {
		d.wrong(s, n, "expected a signal's name such as SIGINT, found %s", found(n))
		return
	}
	if s.V = n.Value; slices.Contains(signals, s.V) {
		return
	}
	if w := "SIG" + strings.ToUpper(n.Value); slices.Contains(signals, w) {
		d.wrong(s, n, "unknown signal %s; did you mean %q?", shortly(n.Value), w)
		return
	}
	if _, near := nearest(n.Value, signals); !near {
		d.wrong(s, n, "unknown signal %s; expected a name such as SIGINT, SIGTERM or SIGKILL", shortly(n.Value))
		return
	}
	d.among(s, n, signals, "signal")
}

// text is a text in English, or {en, zh}.
type text struct {
	place
	EN *str `json:"en" jsonschema_description:"English"`
	ZH *str `json:"zh,omitempty" jsonschema_description:"Chinese"`
}

func (*text) scalar() string { return "a text" }

func (t *text) fromScalar(d *decoder, n *yaml.Node) {
	t.EN = new(str)
	d.into(t.EN, nil, n, rules{})
}

func (t *text) value() (v journal.Text) {
	if t == nil {
		return v
	}
	if t.EN != nil {
		v.EN = strings.TrimSpace(t.EN.V)
	}
	if t.ZH != nil {
		v.ZH = strings.TrimSpace(t.ZH.V)
	}
	return v
}

// maxAmount is the largest number that an amount holds.
const maxAmount = 1<<31 - 1

// amount is an exact number, or {min, max}.
type amount struct {
	place
	Min *integer `json:"min,omitempty" jsonschema:"minimum=0,maximum=2147483647"`
	Max *integer `json:"max,omitempty" jsonschema:"minimum=0,maximum=2147483647"`
}

func (*amount) scalar() string { return "a whole number" }

func (a *amount) fromScalar(d *decoder, n *yaml.Node) {
	v := new(integer)
	zero, most := int64(0), int64(maxAmount)
	d.into(v, nil, n, rules{min: &zero, max: &most})
	a.bad = v.bad
	a.Min, a.Max = v, v
}

// took is an exact duration, or {min, max, since}.
type took struct {
	place
	Since *str      `json:"since,omitempty" jsonschema_description:"Count from the begin of the step with this id."`
	Min   *duration `json:"min,omitempty"`
	Max   *duration `json:"max,omitempty"`
}

func (*took) scalar() string { return "a duration" }

func (t *took) fromScalar(d *decoder, n *yaml.Node) {
	v := new(duration)
	d.into(v, nil, n, rules{})
	t.bad = v.bad
	t.Min, t.Max = v, v
}

func (*expectForm) scalar() string { return "any" }

func (e *expectForm) fromScalar(d *decoder, n *yaml.Node) {
	if e.any = n.Value == "any"; !e.any {
		d.wrong(e, n, "expected any or a mapping, found %s", found(n))
	}
}

// states and holders are tallies: how many sockets are in each state.
type (
	states  struct{ tallied }
	holders struct{ tallied }
)

type tallied struct {
	place
	each dict[amount]
}

func (t *tallied) fill(d *decoder, n *yaml.Node) {
	t.each.put(t.key, t.node)
	t.each.decode(d, n, rules{})
	t.bad = t.each.bad
}

func (s *states) decode(d *decoder, n *yaml.Node, _ rules) {
	s.fill(d, n)
	for _, e := range s.each.Entries {
		if e.Key == "BOUND" {
			d.wrong(s, e.at, "states cannot count BOUND: kernels before 6.8 cannot list bound sockets that neither listen nor connect")
			continue
		}
		d.among(s, e.at, tcpStates, "state")
	}
}

func (h *holders) decode(d *decoder, n *yaml.Node, _ rules) {
	h.fill(d, n)
	for _, e := range h.each.Entries {
		d.among(h, e.at, holderStates, "state")
	}
}
