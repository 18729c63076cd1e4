package report

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of report.json, generated from Report and its
// comments. There is no error to come; the signature is that of the schema of
// scenario files.
func Schema() ([]byte, error) { return slices.Clone(schema), nil }
