package scenario

import (
	"fmt"
	"slices"
	"strings"
)

// The vocabulary. These tables are never written to.
var (
	// tcpStates are the kernel's states as netstat and ss spell them
	// (include/net/tcp_states.h), SYN_RECV and all.
	tcpStates = []string{"LISTEN", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT",
		"LAST_ACK", "CLOSING", "TIME_WAIT", "CLOSE"}
	holderStates = append(slices.Clone(tcpStates), "BOUND")

	// signals are those of signal(7) that a program may be sent or end by.
	signals = []string{"SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL",
		"SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP",
		"SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR",
		"SIGSYS"}

	// outcomes are ok and the errnos (errno(3)) with which a lab's call may
	// end: those of bind, listen, connect, kill, a sysctl's write and a link's
	// change.
	outcomes = []string{"ok", "E2BIG", "EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "EALREADY",
		"EBADF", "EBUSY", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EDESTADDRREQ", "EEXIST", "EFAULT",
		"EHOSTDOWN", "EHOSTUNREACH", "EINPROGRESS", "EINTR", "EINVAL", "EIO", "EISCONN", "EMFILE", "EMSGSIZE",
		"ENETDOWN", "ENETRESET", "ENETUNREACH", "ENFILE", "ENOBUFS", "ENODEV", "ENOENT", "ENOMEM", "ENOPROTOOPT",
		"ENOSPC", "ENOSYS", "ENOTCONN", "ENOTSOCK", "EOPNOTSUPP", "EPERM", "EPIPE", "EPROTO", "EPROTONOSUPPORT",
		"EPROTOTYPE", "ERANGE", "EROFS", "ESRCH", "ETIMEDOUT"}
)

// nearest is the word that was probably meant: the one at the least edit
// distance, letter case and _ or - apart. It is empty if none is near.
func nearest(word string, words []string) (string, bool) {
	best, distance := "", 0
	for _, w := range words {
		d := edits(plain(word), plain(w))
		if best == "" || d < distance {
			best, distance = w, d
		}
	}
	if best == "" || distance > max(1, len(plain(best))/3) {
		return "", false
	}
	return best, true
}

func plain(word string) []rune {
	// No word of the language is near one that long, and the cost of edits
	// grows with the length.
	r := []rune(strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(word)))
	return r[:min(len(r), 40)]
}

// edits is how many letters must be put in, taken out, replaced or swapped
// with a neighbour to make b of a (optimal string alignment).
func edits(a, b []rune) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// maxListed is how many words a message lists.
const maxListed = 20

// rather ends a message about a wrong word: with the nearest right one, or with
// all of them.
func rather(word string, words []string) string {
	if w, ok := nearest(word, words); ok {
		return fmt.Sprintf("; did you mean %q?", w)
	}
	if len(words) == 0 || len(words) > maxListed {
		return ""
	}
	return "; expected " + oneOf(words)
}

// oneOf lists words: "a, b or c".
func oneOf(words []string) string { return listed(words, "or") }

// allOf lists words: "a, b and c".
func allOf(words []string) string { return listed(words, "and") }

func listed(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// shortly quotes text for a message and cuts it when it is long.
func shortly(text string) string {
	if r := []rune(text); len(r) > 60 {
		text = string(r[:57]) + "..."
	}
	return fmt.Sprintf("%q", text)
}
