package scenario

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeys checks that the decoder and the schema know the same keys at the same
// places.
func TestKeys(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	ofSchema := map[string]bool{}
	schemaKeys(root, root, "", ofSchema)
	ofDecoder := map[string]bool{}
	decoderKeys(reflect.TypeFor[fileForm](), "", ofDecoder)
	if diff := cmp.Diff(sorted(ofDecoder), sorted(ofSchema)); diff != "" {
		t.Errorf("(-decoder +schema):\n%s", diff)
	}
}

// decoderKeys collects the paths of all keys below a form: ".steps[].start".
func decoderKeys(form reflect.Type, path string, keys map[string]bool) {
	switch form.Name() {
	case "states", "holders":
		words := tcpStates
		if form.Name() == "holders" {
			words = holderStates
		}
		for _, w := range words {
			keys[path+"."+w] = true
			decoderKeys(reflect.TypeFor[amount](), path+"."+w, keys)
		}
		return
	}
	if items, ok := form.FieldByName("Items"); ok {
		decoderKeys(items.Type.Elem().Elem(), path+"[]", keys)
		return
	}
	if entries, ok := form.FieldByName("Entries"); ok {
		value, _ := entries.Type.Elem().FieldByName("Value")
		decoderKeys(value.Type.Elem(), path+".*", keys)
		return
	}
	for _, f := range fieldNames(form) {
		at := path + "." + f.name
		keys[at] = true
		if !strings.HasSuffix(at, ".repeat.steps") { // the same steps again
			decoderKeys(form.Field(f.index).Type.Elem(), at, keys)
		}
	}
}

// schemaKeys does the same below a schema, following references and every
// branch. What a branch says of a key that another forbids is left out.
func schemaKeys(root, s map[string]any, path string, keys map[string]bool) {
	if ref, ok := s["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/$defs/")
		schemaKeys(root, root["$defs"].(map[string]any)[name].(map[string]any), path, keys)
	}
	for _, word := range []string{"anyOf", "allOf"} {
		branches, _ := s[word].([]any)
		for _, b := range branches {
			schemaKeys(root, b.(map[string]any), path, keys)
		}
	}
	if then, ok := s["then"].(map[string]any); ok {
		schemaKeys(root, then, path, keys)
	}
	properties, _ := s["properties"].(map[string]any)
	for name, p := range properties {
		at := path + "." + name
		keys[at] = true
		if sub, ok := p.(map[string]any); ok && !strings.HasSuffix(at, ".repeat.steps") {
			schemaKeys(root, sub, at, keys)
		}
	}
	if each, ok := s["additionalProperties"].(map[string]any); ok {
		schemaKeys(root, each, path+".*", keys)
	}
	if items, ok := s["items"].(map[string]any); ok {
		if !strings.HasSuffix(path, ".expect") { // a list of rows has the keys of one
			path += "[]"
		}
		schemaKeys(root, items, path, keys)
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"FIN_WAIT_1", "FIN_WAIT1"}, {"timewait", "TIME_WAIT"}, {"LISETN", "LISTEN"}, {"ESTAB", ""}, {"OPEN", ""},
		{"", ""}, {strings.Repeat("x", 1e6), ""},
	} {
		if got, ok := nearest(c.word, tcpStates); got != c.want || ok != (c.want != "") {
			t.Errorf("nearest(%.20q) = %q, %v; want %q", c.word, got, ok, c.want)
		}
	}
	if !slices.Contains(holderStates, "BOUND") || slices.Contains(tcpStates, "BOUND") {
		t.Error("BOUND is a holder's state alone")
	}
}
