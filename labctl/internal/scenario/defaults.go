package scenario

// What a scenario that does not say otherwise gets: the article's port and
// backlog.
const (
	DefaultPort    = 12500
	DefaultBacklog = 16
)

// Nearest is the one of words that was probably meant, empty if none is near.
func Nearest(word string, words []string) string {
	near, _ := nearest(word, words)
	return near
}
